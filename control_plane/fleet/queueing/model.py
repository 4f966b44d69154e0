"""What the order of the queue is about: jobs that wait, terms, and what was decided."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from control_plane.model.action import PlaceJob
from control_plane.model.ids import AllocationId, JobId, UserId
from control_plane.model.job import JobPriority, ResourceRequest


class WaitReason(Enum):
    """What a job waits for."""

    DEPENDENCIES = "dependencies"
    QUOTA = "quota"
    CAPACITY = "capacity"
    FRAGMENTATION = "fragmentation"
    UNSATISFIABLE = "unsatisfiable"
    RESERVATION = "reservation"
    PREEMPTING = "preempting"
    REFUSED = "refused"
    STOPPED = "stopped"


class QueueOrder(Enum):
    """In which order jobs are served."""

    FAIR_SHARE = "fair_share"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job in the queue.

    `waits_for` are the jobs that must succeed first and have not; `max_runtime_seconds` 0 means that its end cannot be
    told.
    """

    job_id: JobId
    user_id: UserId
    user_email: str
    team: str
    priority: JobPriority
    resources: ResourceRequest
    queued_at: datetime
    epoch: int
    max_runtime_seconds: int
    waits_for: tuple[JobId, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueTerms:
    """How the queue is served.

    A job climbs one priority for each `aging_seconds` that it waits. An attempt is safe from preemption for
    `min_runtime_seconds`.
    """

    order: QueueOrder = QueueOrder.FAIR_SHARE
    backfill: bool = True
    preemption: bool = True
    aging_seconds: float = 6 * 3600.0
    min_runtime_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Preemption:
    """An attempt that has to make way, because then `for_job_id` can start; it is queued again."""

    allocation_id: AllocationId
    job_id: JobId
    for_job_id: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job that stays in the queue stands, from 1, and what it waits for.

    `would_help` is for people, likeliest first.
    """

    job_id: JobId
    position: int
    reason: WaitReason
    waits_for: str
    would_help: tuple[str, ...] = ()
    estimated_start_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class QueueDecision:
    """What to propose now. Who waits and why is asked for separately: it is needed less often."""

    placements: tuple[PlaceJob, ...]
    preemptions: tuple[Preemption, ...]
