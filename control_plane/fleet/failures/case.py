"""All that is known of a failed job when somebody asks why."""

from dataclasses import dataclass
from datetime import datetime

from control_plane.model.health import Condition
from control_plane.model.ids import NodeId
from control_plane.model.job import Allocation, Job

LINES_MAX = 1_000
"""Lines of output that are looked at for each rank, the newest."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a job wrote: a stranger's words. `evidence_id` names it for good."""

    evidence_id: str
    rank: int
    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HostCondition:
    """A condition of a host the attempt ran on, present or past. `evidence_id` names it for good."""

    evidence_id: str
    node_id: NodeId
    node_name: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class FailureCase:
    """A failed job, the attempt that is asked about, what it wrote (oldest first), and its hosts around its end.

    `attempt` is None for a job that never started.
    """

    job: Job
    attempt: Allocation | None
    lines: tuple[LogLine, ...] = ()
    conditions: tuple[HostCondition, ...] = ()
