"""What can go wrong, as one tree of exceptions and one table from gRPC status codes to its classes.

    OrQuantaError
    ├── InvalidArgument      the request itself is wrong
    ├── NotFound             no such thing, or not yours to see
    ├── AlreadyExists        the name or request id is taken
    ├── PreconditionFailed   right request, wrong state
    ├── Conflict             somebody else was first; read again and retry
    ├── ResourceExhausted    a budget, quota or bound is used up
    ├── OutOfRange           a page or resume token is too old
    ├── Unauthenticated      no or bad credentials
    ├── PermissionDenied     good credentials, not enough role
    ├── Unavailable          the server could not be reached, or asks to try later
    │   └── UntrustedServer  its certificate was not signed by the given authority
    ├── DeadlineExceeded     no answer in time
    ├── Unsupported          the server does not know this call
    └── ServerFailure        the server failed; its log says why

This module imports no gRPC, so that programs can name errors without paying for it.
"""

from collections.abc import Mapping
from typing import ClassVar


class OrQuantaError(Exception):
    """A call failed.

    `reason` is a stable UPPER_SNAKE_CASE code; `metadata` has its details; `message` says what is wrong and
    what to do; `retry_after_seconds` is set when the server asked to wait that long.
    """

    code: ClassVar[str] = "UNKNOWN"
    # What to do when the failure did not come from OrQuanta itself and so says nothing useful.
    advice: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.code
        self.metadata = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds


class InvalidArgument(OrQuantaError):
    """The request itself is wrong; repeating it cannot help."""

    code = "INVALID_ARGUMENT"


class NotFound(OrQuantaError):
    """There is no such thing, or the caller may not see it."""

    code = "NOT_FOUND"


class AlreadyExists(OrQuantaError):
    """The name or request id is taken by something else."""

    code = "ALREADY_EXISTS"


class PreconditionFailed(OrQuantaError):
    """The request is right, but not in the present state."""

    code = "FAILED_PRECONDITION"


class Conflict(OrQuantaError):
    """Somebody else changed it first; read again and retry."""

    code = "ABORTED"


class ResourceExhausted(OrQuantaError):
    """A budget, a quota or a bound is used up."""

    code = "RESOURCE_EXHAUSTED"


class OutOfRange(OrQuantaError):
    """A page or resume token is too old or not the server's."""

    code = "OUT_OF_RANGE"
    advice = "Start again without the token."


class Unauthenticated(OrQuantaError):
    """There are no credentials, or bad ones."""

    code = "UNAUTHENTICATED"
    advice = "Log in, or give a valid token or API key."


class PermissionDenied(OrQuantaError):
    """The credentials are good, the role is not enough."""

    code = "PERMISSION_DENIED"


class Unavailable(OrQuantaError):
    """The server could not be reached, or asks to try again later; nothing was changed."""

    code = "UNAVAILABLE"
    advice = "Check that the server runs and that its address is right."


class UntrustedServer(Unavailable):
    """The TLS handshake failed: the server is not the one that the certificate authority vouches for."""

    advice = (
        "Check the address, and that the CA certificate is this server's own: <state-dir> of the server has "
        "it, and `ready.json` there says where."
    )


class DeadlineExceeded(OrQuantaError):
    """No answer came in time; whether the call had an effect is not known."""

    code = "DEADLINE_EXCEEDED"
    advice = "Try again, or give the client a longer `timeout_seconds`."


class Unsupported(OrQuantaError):
    """The server does not know this call."""

    code = "UNIMPLEMENTED"
    advice = "The server is older than this client, or another service listens there."


class ServerFailure(OrQuantaError):
    """The server failed in a way that it did not foresee."""

    code = "INTERNAL"
    advice = "The server's log says why."


# The one table. Keys are gRPC's own names of its status codes.
CLASS_BY_CODE: Mapping[str, type[OrQuantaError]] = {
    "CANCELLED": Unavailable,
    "UNKNOWN": ServerFailure,
    "INVALID_ARGUMENT": InvalidArgument,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "PERMISSION_DENIED": PermissionDenied,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "FAILED_PRECONDITION": PreconditionFailed,
    "ABORTED": Conflict,
    "OUT_OF_RANGE": OutOfRange,
    "UNIMPLEMENTED": Unsupported,
    "INTERNAL": ServerFailure,
    "UNAVAILABLE": Unavailable,
    "DATA_LOSS": ServerFailure,
    "UNAUTHENTICATED": Unauthenticated,
}
