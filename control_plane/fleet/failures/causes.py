"""Where rules end: how sure they must be, and the causes by name that a model may choose from then. Pure."""

from typing import Final

from control_plane.fleet.failures import facts
from control_plane.fleet.failures.case import FailureCase
from control_plane.fleet.failures.signatures import SIGNATURES
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.job import AllocationState

SURE: Final = 0.65
"""Rules that are less sure than this have come to their end: an exception of the program's own, a call of CUDA that
failed, a signal or an exit code with nothing beside it."""

UNKNOWN: Final = "UNKNOWN"
OTHER: Final = "OTHER"
"""A cause that no code stands for; the summary says what it is."""

_SAYS_NOTHING: Final = frozenset({"EXCEPTION", "PROGRAM_FAILED", "KILLED", "CRASH", "CUDA_ERROR"})  # how, and not why
_BEYOND_RULES: Final = frozenset(
    {
        "CONFIGURATION_WRONG",
        "DATA_INVALID",
        "DEADLOCK",
        "DEPENDENCY_CONFLICT",
        "LICENCE_REFUSED",
        "PROGRAM_BUG",
        "QUOTA_EXCEEDED",
        "SERVICE_UNAVAILABLE",
        "SLOW_STORAGE",
    }
)
"""Causes that are told apart by reading, and by no rule."""

CAUSES: Final = tuple(sorted(({one.cause for one in SIGNATURES} | facts.CAUSES | _BEYOND_RULES) - _SAYS_NOTHING))
"""What a model may name for a job, besides the conditions of its hosts, OTHER and UNKNOWN."""

_ADVICE: Final = {one.cause: one.advice for one in reversed(SIGNATURES)}


def advice_of(cause: str) -> str:
    """Return what the rules advise for a cause, or nothing."""
    return _ADVICE.get(cause, "")


def rules_end(case: FailureCase, found: Diagnosis) -> bool:
    """Tell whether the rules have no cause for a failed attempt, or are too unsure of it."""
    attempt = case.attempt
    if attempt is None or attempt.state is not AllocationState.ENDED or found.cause == "NOT_FAILED":
        return False
    return found.cause == UNKNOWN or found.confidence < SURE
