"""The API as its own description has it: fuzzed, with authentication off and on.

Every answer must be one the OpenAPI document knows, and none a failure of ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "x9" * 24
EXAMPLES = "60" if os.environ.get("PROOF") else "6"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)


@pytest.mark.slow
@pytest.mark.parametrize("auth", [False, True], ids=["off", "on"])
def test_every_answer_is_documented(tmp_path: Path, auth: bool) -> None:
    data = ["--data-dir", str(tmp_path / "data")]
    cli = [sys.executable, "-m", "grandstand"]
    environment = {**os.environ, "GRANDSTAND_TRAINING__MAX_CONCURRENT_TRAININGS": "1"}
    headers: list[str] = []
    if auth:
        environment |= {
            "JWT_SECRET_KEY": SECRET,
            "GRANDSTAND_SECURITY__ENABLE_AUTH": "true",
        }
        made = subprocess.run(
            [*cli, "token", "fuzzer", "--scope", "admin", *data],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        headers = ["-H", f"Authorization: Bearer {made.stdout.strip()}"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*cli, "serve", "--port", "0", *data],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[3]
            told = subprocess.run(
                [
                    str(Path(sys.executable).with_name("schemathesis")),
                    "run",
                    f"{url}/openapi.json",
                    f"--checks={CHECKS}",
                    f"--max-examples={EXAMPLES}",
                    "--phases=examples,coverage,fuzzing",
                    "--seed=1",
                    "--generation-database=none",
                    "--no-color",
                    *headers,
                ],
                capture_output=True,
                text=True,
                timeout=1200,
                cwd=tmp_path,
                env={
                    **os.environ,
                    "SCHEMATHESIS_HOOKS": "zip_bodies",
                    "PYTHONPATH": os.pathsep.join(
                        [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
                    ),
                },
            )
        finally:
            server.terminate()
            server.wait(60)
            assert server.stdout is not None
            server.stdout.close()
    assert told.returncode == 0, told.stdout[-6000:]
    assert "Traceback" not in (tmp_path / "log").read_text()
