"""What Slurm says of a job, and what that means."""

import re
import signal
from dataclasses import dataclass
from typing import Final

_SIGNALED_BASE: Final = 128
_TIME: Final = re.compile(
    r"(?:(?P<days>[0-9]{1,6})-)?(?P<hours>[0-9]{1,2}):(?P<minutes>[0-9]{2}):(?P<seconds>[0-9]{2})"
)

WAITING: Final = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
OUTCOMES: Final = {
    "OUT_OF_MEMORY": ("oom_killed", "killed by Slurm for using more memory than it may; ask for more or use less"),
    "TIMEOUT": ("timed_out", "ran for as long as Slurm lets it"),
    "DEADLINE": ("timed_out", "Slurm ended it at its deadline"),
    "NODE_FAIL": ("supervisor_lost", "the Slurm node that it ran on failed"),
    "BOOT_FAIL": ("supervisor_lost", "the Slurm node that it was to run on did not start"),
    "PREEMPTED": ("supervisor_lost", "another job of the cluster has preempted it"),
    "REVOKED": ("supervisor_lost", "its cluster gave it to another one"),
    "LAUNCH_FAILED": ("start_failed", "Slurm could not start it on its nodes"),
    "RECONFIG_FAIL": ("supervisor_lost", "the Slurm node that it was to run on could not be made ready"),
}
_ENDED: Final = frozenset({"COMPLETED", "CANCELLED", "FAILED", *OUTCOMES})
"""Any other word is of a job that goes on, whatever Slurm calls that."""


@dataclass(frozen=True, slots=True)
class Job:
    """What Slurm says of a job. `state` is its word in capitals; exit code and signal as the job's own.

    `ran_seconds` is for how long it has run by Slurm's clock, in whole seconds; None if that was not told.
    """

    state: str
    reason: str
    exit_code: int
    signal: int
    ran_seconds: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it will not run any more."""
        return self.state in _ENDED

    @property
    def ended_by(self) -> int:
        """The signal that ended it, or 0. Of a cancelled job, srun or a shell may tell it as 128 and its number."""
        if self.signal or self.state != "CANCELLED":
            return self.signal
        told = self.exit_code - _SIGNALED_BASE
        return int(signal.SIGTERM) if not self.exit_code else told if told in signal.valid_signals() else 0


def read_job(state: str, reason: str, exit_code: str, ran_seconds: float | None) -> Job | None:
    """Return what Slurm's words for a state and an end, `code:signal`, say; None if they say nothing."""
    code, _, number = exit_code.strip().partition(":")
    if not state or not code.isdigit():
        return None
    return Job(state, reason, int(code), int(number) if number.isdigit() else 0, ran_seconds)


def read_seconds(text: str) -> float | None:
    """Return how long `[days-]hours:minutes:seconds` is."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hours = 24 * int(match["days"] or 0) + int(match["hours"])
    return float(3600 * hours + 60 * int(match["minutes"]) + int(match["seconds"]))
