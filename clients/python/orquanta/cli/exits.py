"""Exit codes that scripts can rely on, and what each failure exits with."""

from enum import IntEnum

from orquanta.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OrQuantaError,
    OutOfRange,
    PermissionDenied,
    PreconditionFailed,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    UntrustedServer,
)
from orquanta.types.goals import GoalState
from orquanta.types.jobs import JobState
from orquanta.types.repairs import RepairState


class ExitCode(IntEnum):
    """What the process exits with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    REFUSED = 5
    NEEDS_INPUT = 6
    UNAVAILABLE = 7
    INTERRUPTED = 130


EXIT_CODES_HELP = (
    "Exit codes: 0 done; 1 the goal, job or repair failed or was cancelled, or something broke; 2 wrong usage; "
    "3 not found; 4 not logged in or not allowed; 5 refused, denied, or waiting for an approval; "
    "6 the goal has a question; 7 the server cannot be reached or did not answer in time; 130 interrupted."
)

# First match wins, so a subclass stands before its class.
_BY_ERROR: tuple[tuple[type[OrQuantaError], ExitCode], ...] = (
    (InvalidArgument, ExitCode.USAGE),
    (OutOfRange, ExitCode.USAGE),
    (NotFound, ExitCode.NOT_FOUND),
    (Unauthenticated, ExitCode.NOT_ALLOWED),
    (PermissionDenied, ExitCode.NOT_ALLOWED),
    (UntrustedServer, ExitCode.NOT_ALLOWED),
    (PreconditionFailed, ExitCode.REFUSED),
    (ResourceExhausted, ExitCode.REFUSED),
    (AlreadyExists, ExitCode.REFUSED),
    (Conflict, ExitCode.REFUSED),
    (Unavailable, ExitCode.UNAVAILABLE),
    (DeadlineExceeded, ExitCode.UNAVAILABLE),
)

_BY_GOAL_STATE = {
    GoalState.FAILED: ExitCode.FAILED,
    GoalState.CANCELLED: ExitCode.FAILED,
    GoalState.REFUSED: ExitCode.REFUSED,
    GoalState.AWAITING_APPROVAL: ExitCode.REFUSED,
    GoalState.NEEDS_INPUT: ExitCode.NEEDS_INPUT,
}

_BY_REPAIR_STATE = {
    RepairState.FAILED: ExitCode.FAILED,
    RepairState.REFUSED: ExitCode.REFUSED,
}


class CommandError(Exception):
    """A command cannot go on; the message says what to do. `reason` is UPPER_SNAKE_CASE and stable."""

    def __init__(self, message: str, *, reason: str, code: ExitCode) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code


def code_for_error(error: OrQuantaError) -> ExitCode:
    """The exit code for a failed call."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)


def code_for_goal(state: GoalState) -> ExitCode:
    """The exit code after a goal got this far: 0 if it succeeded or goes on by itself."""
    return _BY_GOAL_STATE.get(state, ExitCode.OK)


def code_for_repair(state: RepairState) -> ExitCode:
    """The exit code after a repair got this far: 0 if it succeeded or goes on by itself."""
    return _BY_REPAIR_STATE.get(state, ExitCode.OK)


def code_for_job(state: JobState) -> ExitCode:
    """The exit code after a job got this far: 0 if it succeeded or goes on by itself."""
    return ExitCode.FAILED if state in {JobState.FAILED, JobState.CANCELLED} else ExitCode.OK
