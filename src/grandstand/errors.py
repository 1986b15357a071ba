"""Every failure a user can meet, as one tree.

The house raises these, `web/errors.py` renders them as ``{"error", "message", "detail", "details",
"timestamp"}``, and the SDK raises the same class again from that body::

    GrandstandError            500  internal_error
    ├── BadRequest             400  bad_request          the request makes no sense now
    │   └── TrainingBusy       400  training_already_running
    ├── Unauthenticated        401  unauthenticated      no valid token          (socket 4401)
    ├── Forbidden              403  forbidden            token without the right (socket 4403)
    ├── NotFound               404  not_found            no such thing           (socket 4404)
    ├── Conflict               409  conflict             state or fencing says no (socket 4409)
    ├── Gone                   410  gone                 deleted meanwhile       (socket 4410)
    ├── TooLarge               413  too_large
    ├── UnsupportedMedia       415  unsupported_media_type
    ├── ValidationFailed       422  validation_failed    names field, value and bound
    ├── TooMany                429  too_many_requests    come back later         (socket 4429)
    └── Unavailable            503  unavailable          come back later         (socket 1012)

`code` is stable and meant for programs, `message` is a sentence for people, `detail` says what
to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class GrandstandError(Exception):
    """Base of all expected failures.

    Attributes:
        http_status: status of the HTTP answer.
        close_code: WebSocket close code when the same failure ends a socket.
        retryable: whether the same request may succeed later without a change.
    """

    http_status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011
    retryable: ClassVar[bool] = False
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        detail: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.detail = detail
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after_seconds = retry_after_seconds


class BadRequest(GrandstandError):
    """The request is well formed but makes no sense in the present state."""

    http_status = 400
    close_code = 4400
    default_code = "bad_request"


class TrainingBusy(BadRequest):
    """A training is already running and none may start beside it."""

    default_code = "training_already_running"


class Unauthenticated(GrandstandError):
    """No token, or one that is expired, revoked or not ours."""

    http_status = 401
    close_code = 4401
    default_code = "unauthenticated"


class Forbidden(GrandstandError):
    """Known, but not allowed to do this."""

    http_status = 403
    close_code = 4403
    default_code = "forbidden"


class NotFound(GrandstandError):
    """No session, scenario, model or checkpoint of that name."""

    http_status = 404
    close_code = 4404
    default_code = "not_found"


class Conflict(GrandstandError):
    """The state forbids it: a change of status, an id taken, a report of an older attempt."""

    http_status = 409
    close_code = 4409
    default_code = "conflict"


class Gone(GrandstandError):
    """It was here and has been deleted."""

    http_status = 410
    close_code = 4410
    default_code = "gone"


class TooLarge(GrandstandError):
    """A body or frame over the limit."""

    http_status = 413
    close_code = 1009
    default_code = "too_large"


class UnsupportedMedia(GrandstandError):
    """A body that is not JSON."""

    http_status = 415
    close_code = 1003
    default_code = "unsupported_media_type"


class ValidationFailed(GrandstandError):
    """A value outside its bounds, or a key nobody knows; `details` names field, value and bound."""

    http_status = 422
    close_code = 4422
    default_code = "validation_failed"


class TooMany(GrandstandError):
    """Over a limit; `retry_after_seconds` says when to come back."""

    http_status = 429
    close_code = 4429
    retryable = True
    default_code = "too_many_requests"


class Unavailable(GrandstandError):
    """Cannot serve this now: starting, stopping, or a part that is not installed."""

    http_status = 503
    close_code = 1012
    retryable = True
    default_code = "unavailable"


def tree(root: type[GrandstandError] = GrandstandError) -> list[type[GrandstandError]]:
    """Every failure there is, parents first."""
    return [root, *(cls for child in root.__subclasses__() for cls in tree(child))]


def from_body(status: int, body: Mapping[str, Any]) -> GrandstandError:
    """The error a server's JSON body stands for, as the same class the server raised.

    Args:
        status: HTTP status of the answer.
        body: decoded error body; unknown shapes still give a useful error.
    """
    code = str(body.get("error") or "")
    classes = tree()
    by_code = next((cls for cls in classes if code and cls.default_code == code), None)
    by_status = next((cls for cls in classes if cls.http_status == status), GrandstandError)
    cls = by_code if by_code is not None and by_code.http_status == status else by_status
    details = body.get("details")
    return cls(
        str(body.get("message") or f"the server answered {status}"),
        code=code or None,
        detail=str(body.get("detail") or ""),
        details=details if isinstance(details, Mapping) else None,
    )
