"""When nothing of a job's output is on its way any more: its end travels faster than its output."""

from datetime import datetime, timedelta
from typing import Final

from control_plane.model.job import Allocation, AllocationState, ExitReason

_ON_ITS_WAY: Final = timedelta(seconds=30)
"""How long output may come after the end of its attempt: while the broker is away the host keeps it."""

_SILENT: Final = frozenset({ExitReason.NODE_LOST, ExitReason.START_FAILED})
"""From members that ended so nothing comes any more."""


def output_may_come(attempt: Allocation, now: datetime) -> bool:
    """Return whether an attempt may still write, or has ended so lately that some of its output may be on its way.

    The hosts' own word that a member's output is complete (`Tail.complete`) comes sooner, and settles it.
    """
    return attempt.state is not AllocationState.ENDED or just_ended(attempt, now)


def just_ended(attempt: Allocation, now: datetime) -> bool:
    """Return whether an attempt has ended so lately that some of its output may be on its way."""
    if attempt.state is not AllocationState.ENDED or attempt.ended_at is None:
        return False
    silent = all(member.exit_reason in _SILENT for member in attempt.members)
    return not silent and now - attempt.ended_at <= _ON_ITS_WAY
