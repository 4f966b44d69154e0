"""Domain errors. Each class carries its gRPC status code and a machine-readable reason.

    OrQuantaError
    ├── InvalidArgument      INVALID_ARGUMENT     the request itself is wrong
    ├── NotFound             NOT_FOUND            no such thing, or not yours to see
    ├── AlreadyExists        ALREADY_EXISTS       the name or request id is taken
    ├── PreconditionFailed   FAILED_PRECONDITION  right request, wrong state
    ├── Conflict             ABORTED              somebody else was first; read again and retry
    ├── ResourceExhausted    RESOURCE_EXHAUSTED   a budget, quota or bound is used up
    ├── OutOfRange           OUT_OF_RANGE         a page or resume token is too old
    ├── Unauthenticated      UNAUTHENTICATED      no or bad credentials
    ├── PermissionDenied     PERMISSION_DENIED    good credentials, not enough role
    └── Unavailable          UNAVAILABLE          try again later; nothing was changed

The services' error interceptor is the only place that turns them into a status on the wire.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import ClassVar


class Code(Enum):
    """The gRPC status codes that domain errors use, by gRPC's own names, without importing gRPC."""

    INVALID_ARGUMENT = auto()
    NOT_FOUND = auto()
    ALREADY_EXISTS = auto()
    FAILED_PRECONDITION = auto()
    ABORTED = auto()
    RESOURCE_EXHAUSTED = auto()
    OUT_OF_RANGE = auto()
    UNAUTHENTICATED = auto()
    PERMISSION_DENIED = auto()
    UNAVAILABLE = auto()
    INTERNAL = auto()


class OrQuantaError(Exception):
    """A failure that callers are meant to see.

    `reason` is UPPER_SNAKE_CASE and stable; the message says what is wrong and what to do about it.
    """

    code: ClassVar[Code] = Code.INTERNAL
    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})


class InvalidArgument(OrQuantaError):
    """The request itself is wrong; repeating it cannot help."""

    code = Code.INVALID_ARGUMENT
    default_reason = "INVALID_ARGUMENT"


class NotFound(OrQuantaError):
    """There is no such thing, or the caller may not see it."""

    code = Code.NOT_FOUND
    default_reason = "NOT_FOUND"


class AlreadyExists(OrQuantaError):
    """The name or request id is taken by something else."""

    code = Code.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class PreconditionFailed(OrQuantaError):
    """The request is right, but not in the present state."""

    code = Code.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class Conflict(OrQuantaError):
    """Somebody else changed it first; read again and retry."""

    code = Code.ABORTED
    default_reason = "CONFLICT"


class ResourceExhausted(OrQuantaError):
    """A budget, a quota or a bound is used up."""

    code = Code.RESOURCE_EXHAUSTED
    default_reason = "RESOURCE_EXHAUSTED"


class OutOfRange(OrQuantaError):
    """A page or resume token is too old or not ours."""

    code = Code.OUT_OF_RANGE
    default_reason = "OUT_OF_RANGE"


class Unauthenticated(OrQuantaError):
    """There are no credentials, or bad ones."""

    code = Code.UNAUTHENTICATED
    default_reason = "UNAUTHENTICATED"


class PermissionDenied(OrQuantaError):
    """The credentials are good, the role is not enough."""

    code = Code.PERMISSION_DENIED
    default_reason = "PERMISSION_DENIED"


class Unavailable(OrQuantaError):
    """Try again later; nothing was changed."""

    code = Code.UNAVAILABLE
    default_reason = "UNAVAILABLE"
