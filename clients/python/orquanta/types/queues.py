"""The queue: which jobs wait, in which order, for what, and what would help; and quotas of teams."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orquanta.types.jobs import Job, JobPriority, ResourceRequest

QUEUE_EVERY_SECONDS = 2.0
"""How often a watch asks for the queue."""
QUEUE_EVERY_SECONDS_MIN = 1.0
"""How often it may at most."""


class WaitReason(StrEnum):
    """What a job waits for."""

    UNKNOWN = "unknown"
    DEPENDENCIES = "dependencies"
    QUOTA = "quota"
    CAPACITY = "capacity"
    FRAGMENTATION = "fragmentation"
    UNSATISFIABLE = "unsatisfiable"
    RESERVATION = "reservation"
    PREEMPTING = "preempting"
    REFUSED = "refused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A job that waits. `position` counts from 1; `would_help` is for people, likeliest first.

    `estimated_start_at` follows from the time limits of what runs; None if it cannot be told.
    """

    job_id: str
    name: str
    team: str
    user_email: str
    position: int
    priority: JobPriority
    resources: ResourceRequest
    wait_reason: WaitReason
    waits_for: str
    would_help: tuple[str, ...]
    estimated_start_at: datetime | None
    queued_at: datetime | None
    epoch: int


@dataclass(frozen=True, slots=True)
class QueuePage:
    """The head of the queue, how many jobs wait in all, and when the order was decided."""

    entries: tuple[QueueEntry, ...]
    total: int
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """What the scheduler thinks of a host for one job. `fits`: it could start there now, or does run there."""

    node_id: str
    node_name: str
    fits: bool
    reason: str


@dataclass(frozen=True, slots=True)
class JobExplanation:
    """Why a job waits, or why it runs where it runs. `waiting` is None unless it waits; `nodes` has the best first."""

    job: Job
    waiting: QueueEntry | None
    placement_reason: str
    nodes: tuple[NodeVerdict, ...]
    making_way_job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quota:
    """What a team is entitled to, holds and waits for; figures include the teams in it, parts of GPUs count as parts.

    `team` is empty for jobs of accounts without one; `max_gpus` None means no limit.
    """

    team: str
    weight: float
    guaranteed_gpus: int
    max_gpus: int | None
    held_gpus: float
    borrowed_gpus: float
    waiting_gpus: float
    running_jobs: int
    waiting_jobs: int
    dominant_share: float
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quotas:
    """All teams by path, the GPUs in service, and how many of them are guaranteed to teams in all."""

    quotas: tuple[Quota, ...]
    fleet_gpus: float
    guaranteed_gpus: int
