"""How a request reaches the server: over HTTP here, or as in `in_process`.

A transport is synchronous and serves one request at a time; `twin()` gives another thread its own.
Plain `http.client` is used instead of a larger library because a request costs less than half the
Python time there, and that time is taken from the training (see docs/decisions/sdk-transport.md).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from grandstand.client.handshake import USER_AGENT, Headers, greet, not_ours
from grandstand.errors import GrandstandError, Unavailable, from_body

if TYPE_CHECKING:
    import http.client

TIMEOUT_SECONDS = 30.0
CONNECT_SECONDS = 5.0
JSON = "application/json"
KEEP_ALIVE_SECONDS = 4.0
"""A connection idle for longer may have been closed by the server (most wait 5 s): open anew."""
PROXIES_SAY = frozenset({408, 413, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524})
"""What a proxy may say of a request in the server's place, and in its sense."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Reply(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        status: of HTTP.
        headers: what is asked of them: `get`.
        url: of the server, for messages.
    """

    status: int
    body: bytes
    headers: Headers
    url: str

    @property
    def retry_after_seconds(self) -> float | None:
        """The seconds it asks to wait, if it does."""
        return seconds_of(self.headers.get("Retry-After"))

    def json(self) -> Any:
        """The decoded body; None for an empty one.

        Raises:
            Unavailable: something that is not our server answered (code ``not_our_server``).
        """
        if not self.body:
            return None
        try:
            return _decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise not_ours(self.url, f"it answers {self._words()}") from None

    def error(self) -> GrandstandError:
        """The failure this answer stands for, as the class the server raised; `Unavailable` (code
        ``not_our_server``) where it is no answer of our server."""
        try:
            body = _decode(self.body) if self.body else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        if isinstance(body, dict) and isinstance(body.get("error"), str):
            error = from_body(self.status, body)
        elif self.status in PROXIES_SAY:
            error = from_body(self.status, {})
        else:
            error = not_ours(self.url, f"it answers {self._words()}")
        error.retry_after_seconds = self.retry_after_seconds
        return error

    def _words(self) -> str:
        if 300 <= self.status < 400 and (place := self.headers.get("Location")):
            return f"{self.status} and sends us to {place}"
        kind = (self.headers.get("Content-Type") or "").partition(";")[0]
        return f"{self.status} with {kind}" if kind else str(self.status)


class Transport(Protocol):
    """One conversation with the server, one request at a time; any thread may call."""

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        repeatable: bool = False,
        media_type: str = JSON,
    ) -> Reply:
        """Send and wait for the answer, whatever its status.

        Args:
            method: HTTP method.
            path: from ``/``, with its query.
            body: JSON, already encoded, unless `media_type` says otherwise.
            timeout: seconds to wait for the answer.
            repeatable: whether sending it twice does no harm.
            media_type: the body's Content-Type.

        Raises:
            Unavailable: no answer (code ``server_unreachable``).
        """

    def twin(self) -> Transport:
        """The same destination, for another thread."""

    def bearing(self, token: str | None) -> Transport:
        """The same destination, asked with another token."""

    def close(self) -> None:
        """Let go of the connection; a later request opens a new one."""


def call(
    transport: Transport,
    method: str,
    path: str,
    json: Any = None,
    *,
    timeout: float = TIMEOUT_SECONDS,
    repeatable: bool = False,
    met: bool = False,
) -> Any:
    """A request with a JSON body, and the decoded answer.

    Args:
        met: do not look at which wire the server speaks: a session is open, and may go on.

    Raises:
        GrandstandError: what the server refused with, `Unavailable` where none answers, or that
            it speaks another wire.
    """
    body = None if json is None else _encode(json)
    reply = transport.request(method, path, body, timeout=timeout, repeatable=repeatable)
    if reply.status >= 300:
        raise reply.error()
    if not met:
        greet(reply.headers)
    return reply.json()


def unreachable(url: str, reason: object, *, sent: bool = False) -> Unavailable:
    """The failure of a request that nobody answered; `sent`: though it may have arrived."""
    return Unavailable(
        f"no Grandstand server answers at {url} ({reason})",
        code="server_unreachable",
        detail="Start one with `grandstand serve`, or point GRANDSTAND_URL at the right address.",
        details={"url": url, "sent": sent},
    )


def about_content(error: GrandstandError) -> bool:
    """Whether a report was refused for what it holds, so that another may be taken: a bad value,
    or an event that no longer fits the session's status."""
    return error.http_status in (400, 413, 415, 422) or error.code == "status_conflict"


def seconds_of(value: str | None) -> float | None:
    """What a Retry-After header says, if it says seconds."""
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None  # A date is also allowed there; our servers send seconds.


class HttpTransport:
    """HTTP/1.1 with keep-alive.

    Args:
        url: scheme, host, port and a path prefix if the server lies behind one.
        token: bearer token, or None.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._url = url
        self._token = token
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Content-Type": JSON, "Accept": JSON, "User-Agent": USER_AGENT}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._used_at = 0.0
        self._turn = threading.Lock()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        repeatable: bool = False,
        media_type: str = JSON,
    ) -> Reply:
        """See `Transport.request`."""
        headers = self._headers
        if media_type is not JSON:
            headers = {**headers, "Content-Type": media_type}
        with self._turn:
            return self._request(method, path, body, headers, timeout, repeatable)

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout: float,
        repeatable: bool,
    ) -> Reply:
        import http.client

        for last in (False, True):
            connection, fresh = self._connect(http.client)
            try:
                if connection.sock is not None:
                    connection.sock.settimeout(timeout)
                connection.request(method, self._prefix + path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except TimeoutError:
                self._drop()
                raise unreachable(self._url, f"no answer within {timeout:g} s", sent=True) from None
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                # A server may close a kept connection just as we use it: worth one more try.
                if fresh or last or not repeatable:
                    raise unreachable(
                        self._url, str(error) or type(error).__name__, sent=True
                    ) from error
                continue
            self._used_at = time.monotonic()
            if answer.will_close:
                self._drop()
            return Reply(answer.status, content, answer.headers, self._url)
        raise AssertionError("unreachable")

    def _connect(self, http_client: Any) -> tuple[http.client.HTTPConnection, bool]:
        if self._connection is not None:
            if time.monotonic() - self._used_at < KEEP_ALIVE_SECONDS:
                return self._connection, False
            self._drop()
        kind = http_client.HTTPSConnection if self._secure else http_client.HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise unreachable(self._url, error.strerror or error) from error
        self._connection = connection
        return connection, True

    def twin(self) -> HttpTransport:
        """See `Transport.twin`."""
        return HttpTransport(self._url, self._token)

    def bearing(self, token: str | None) -> HttpTransport:
        """See `Transport.bearing`."""
        return HttpTransport(self._url, token)

    def close(self) -> None:
        """See `Transport.close`."""
        with self._turn:
            self._drop()

    def __del__(self) -> None:
        # A session may simply be forgotten; its idle connection is then no cause for a warning.
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
