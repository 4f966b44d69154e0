"""Simulations of the queue: what would come of other hosts, jobs or ways to serve it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from orquanta.types.jobs import JobPriority, ResourceRequest


@dataclass(frozen=True, slots=True)
class SimulatedJob:
    """A job of a simulated queue: it arrives and runs for so many seconds."""

    name: str
    arrives_seconds: float
    runs_seconds: float
    resources: ResourceRequest
    priority: JobPriority = JobPriority.NORMAL
    team: str = ""


@dataclass(frozen=True, slots=True)
class SimulatedNodes:
    """So many hosts of one kind. Zero CPU and memory stand for those of a usual server."""

    count: int
    gpu_type: str = ""
    gpu_count: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SimulationPoint:
    """Usage at one moment, in seconds from the start; parts of GPUs count as parts."""

    at_seconds: float
    gpus_used: float
    gpus_total: float
    jobs_waiting: int


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Figures of one simulated run. `utilization` is GPU time used of what was there, 0 to 1."""

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
    points: tuple[SimulationPoint, ...]


@dataclass(frozen=True, slots=True)
class SimulationOutcome:
    """What came of it with the changes that were asked for and, in `baseline`, without them; None if there are none."""

    result: SimulationResult
    baseline: SimulationResult | None
