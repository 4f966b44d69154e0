"""What a host says about one member of an allocation."""

from dataclasses import dataclass
from datetime import datetime

from control_plane.model.ids import AllocationId, JobId
from control_plane.model.job import AllocationState, ExitReason


@dataclass(frozen=True, slots=True)
class MemberReport:
    """The state of one member on its host, in the words of `orquanta.v1.MemberReport`.

    It is a full statement, not a change: the newest report of a member says all that the older ones said.
    `gpu_seconds` is measured by the host's monotonic clock; the times are by the host's wall clock.
    """

    allocation_id: AllocationId
    job_id: JobId
    epoch: int
    rank: int
    state: AllocationState
    exit_reason: ExitReason | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    peak_memory_bytes: int = 0
    gpu_seconds: float = 0.0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    gpu_uuids: tuple[str, ...] = ()
