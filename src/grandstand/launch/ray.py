"""Workers as jobs of a Ray cluster.

A worker is the same program as anywhere, ``python -m grandstand.worker``, submitted through Ray's
job API (https://docs.ray.io/en/latest/cluster/running-applications/job-submission/): it runs on
whichever node has a free CPU (and GPU, where its training needs one), reports to the server over
the network, and sends its checkpoints there. Ray's part is where it runs, its output, and its end;
pause, stop and checkpoint reach it as they reach every worker, by its heartbeat. Where it trains on
several ranks, the others are tasks that the job starts (``train/ray_ranks.py``). The nodes of the
cluster need ``grandstand[train,ray]``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from grandstand.clock import Clock
from grandstand.errors import Unavailable
from grandstand.launch.base import Task

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

logger = logging.getLogger("grandstand.ray")

T = TypeVar("T")

POLL_SECONDS = 1.0
LOG_LINES = 40
GPU = "gpu"
"""The label of a training that Ray is to give a GPU."""
UNKNOWN_POLLS = 30
"""How often Ray may give no answer about a job in a row before it counts as ended."""
MISSING = Unavailable(
    "Ray is not installed",
    code="ray_missing",
    detail='Install it: pip install "grandstand[ray]"; or set training.launcher to local.',
)


class RayWorker:
    """A job of the cluster."""

    def __init__(self, client: RayClient, submission_id: str, clock: Clock) -> None:
        self._client = client
        self._id = submission_id
        self._clock = clock
        self.handle = f"ray {submission_id}"

    async def wait(self) -> str:
        """See `Worker.wait`."""
        unknown = 0
        while unknown < UNKNOWN_POLLS:
            info = await self._client.info(self._id)
            if info is None:
                unknown += 1
            elif info.status.is_terminal():
                return f"Ray says {info.status.value.lower()}: {info.message or 'nothing more'}"
            else:
                unknown = 0
            await self._clock.sleep(POLL_SECONDS)
        return "Ray does not know it any more"

    async def last_output(self) -> list[str]:
        """See `Worker.last_output`."""
        text = await self._client.tried(lambda c: c.get_job_logs(self._id))
        return text.splitlines()[-LOG_LINES:] if text else []

    async def terminate(self) -> None:
        """See `Worker.terminate`: Ray sends SIGTERM, and SIGKILL some seconds after."""
        await self._client.tried(lambda c: c.stop_job(self._id))

    async def kill(self) -> None:
        """See `Worker.kill`; Ray has no harder way than `terminate`."""
        await self.terminate()


class RayLauncher:
    """Submits workers to a cluster.

    Args:
        address: of its dashboard, ``http://HOST:8265``.
        python: the interpreter on the cluster's nodes.
        clock: for the spans.
    """

    def __init__(self, address: str, python: str, clock: Clock) -> None:
        self._client = RayClient(address)
        self._python = python
        self._clock = clock

    async def launch(self, task: Task) -> RayWorker:
        """See `Launcher.launch`."""
        submission_id = f"grandstand-{task.name.replace(':', '-')}-{secrets.token_hex(4)}"
        environment = {
            "GRANDSTAND_URL": task.url,
            "GRANDSTAND_TOKEN": task.token,
            "GRANDSTAND_TASK": task.name,
            "GRANDSTAND_WORK_FOLDER": "grandstand-work",
            # Where it trains on several ranks, the others are tasks of the cluster too.
            "GRANDSTAND_RANKS": "ray",
            # Ray stops a job with SIGTERM; a worker takes a checkpoint and sends it meanwhile.
            "RAY_JOB_STOP_WAIT_TIME_S": "10",
            **task.environment,
        }
        gpus = 1 if GPU in task.labels else 0
        try:
            await self._client.call(
                lambda c: c.submit_job(
                    entrypoint=f"{self._python} -m grandstand.worker",
                    submission_id=submission_id,
                    runtime_env={"env_vars": environment},
                    metadata={"task": task.name},
                    entrypoint_num_cpus=1,
                    entrypoint_num_gpus=gpus,
                )
            )
        except Unavailable as error:
            raise OSError(f"{error.message} {error.detail}") from error
        return RayWorker(self._client, submission_id, self._clock)

    async def find(self, handle: str, task: Task) -> RayWorker | None:
        """See `Launcher.find`."""
        kind, _, submission_id = handle.partition(" ")
        if kind != "ray":
            return None
        info = await self._client.info(submission_id)
        if info is None or info.status.is_terminal():
            return None
        return RayWorker(self._client, submission_id, self._clock)


class RayClient:
    """Ray's job API, asked in threads; the connection is made when it is first needed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._made: JobSubmissionClient | None = None
        self._away = False

    async def call(self, ask: Callable[[JobSubmissionClient], T]) -> T:
        """The answer to a question.

        Raises:
            Unavailable: Ray is not installed (code ``ray_missing``), or does not answer or
                refuses (code ``ray_unavailable``).
        """

        def asked() -> T:
            try:
                from ray.job_submission import JobSubmissionClient
            except ImportError:
                raise MISSING from None
            try:
                if self._made is None:
                    self._made = JobSubmissionClient(self._address)
                return ask(self._made)
            except (ConnectionError, RuntimeError, OSError) as error:
                # RuntimeError is how its client tells of any status that is not 200.
                raise Unavailable(
                    f"Ray at {self._address} does not do as asked",
                    code="ray_unavailable",
                    detail=str(error).strip().splitlines()[-1][:300] if str(error) else "",
                ) from error

        return await asyncio.to_thread(asked)

    async def tried(self, ask: Callable[[JobSubmissionClient], T]) -> T | None:
        """The same, None (and a line in the log, once) where there is no answer."""
        try:
            answer = await self.call(ask)
        except Unavailable as error:
            if not self._away:
                logger.warning("%s: %s", error.message, error.detail)
            self._away = True
            return None
        self._away = False
        return answer

    async def info(self, submission_id: str) -> Any | None:
        """What Ray knows of a job; None where it knows nothing, or does not answer."""
        return await self.tried(lambda c: c.get_job_info(submission_id))
