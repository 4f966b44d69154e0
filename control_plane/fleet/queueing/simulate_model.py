"""What a simulation of the queue is about: hosts, jobs with their lengths, terms, and the figures that come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.placement.room import Claim, Host
from control_plane.fleet.queueing.model import QueueTerms
from control_plane.model.ids import UserId
from control_plane.model.job import JobPriority, ResourceRequest
from control_plane.model.team import Team

MOST_JOBS: Final = 200_000
"""Jobs of one simulation."""

MOST_POINTS: Final = 500
"""Points of usage over time that a simulation gives."""


@dataclass(frozen=True, slots=True)
class SimulatedJob:
    """A job of a simulation. It arrives and runs for so many seconds, which the queue does not know beforehand.

    `max_runtime_seconds` is what the queue knows: the limit that ends it, 0 for none. `waited_seconds` is how long it
    has waited when it arrives. `after` are the names of jobs that must end first; those that are no part of the
    simulation have. `running` is what it holds as it arrives; it is queued if one of those hosts is not there.
    """

    name: str
    arrives_seconds: float
    runs_seconds: float
    resources: ResourceRequest
    priority: JobPriority = JobPriority.NORMAL
    team: str = ""
    user: str = ""
    max_runtime_seconds: int = 0
    waited_seconds: float = 0.0
    after: tuple[str, ...] = ()
    running: Claim | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to simulate. `prices` are US dollars for a GPU hour by GPU model; a model that is not there costs nothing.

    A job that has to make way is given `stop_seconds`, loses all of its work and is queued again with its age.
    `seed` decides where the random packing policy puts jobs; nothing else is drawn.
    """

    hosts: tuple[Host, ...]
    jobs: tuple[SimulatedJob, ...]
    terms: QueueTerms = field(default_factory=QueueTerms)
    packing: PackingPolicy = PackingPolicy.NODE_VALUE
    teams: tuple[Team, ...] = ()
    user_limits: Mapping[UserId, int] = field(default_factory=dict)
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    seed: int = 0
    stop_seconds: float = 30.0
    starts_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """Usage at one moment, in seconds from the start; parts of GPUs count as parts."""

    at_seconds: float
    gpus_used: float
    gpus_total: float
    jobs_waiting: int


@dataclass(frozen=True, slots=True)
class SimulationFigures:
    """What came of a simulation. Waits are from arrival to the first start, of the jobs that started.

    `utilization` is GPU time used as a part of what was there from the first arrival to the last end.
    `jobs_unsatisfiable` could never start: no host could hold them, or a limit is too low.
    """

    jobs_finished: int
    jobs_unsatisfiable: int
    makespan_seconds: float
    utilization: float
    wait_mean_seconds: float
    wait_p50_seconds: float
    wait_p95_seconds: float
    wait_max_seconds: float
    cost_usd: Decimal
    preemptions: int
    lost_gpu_seconds: float
    points: tuple[UsagePoint, ...]
