"""Jobs, and the allocations that are their attempts."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Final

from control_plane.model.ids import AllocationId, GoalId, JobId, NodeId, UserId


class JobState(Enum):
    """Where a job is in its life."""

    QUEUED = "queued"
    PLACED = "placed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the job will never change state again."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class AllocationState(Enum):
    """Where an allocation, or one member of it, is in its life."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class ExitReason(Enum):
    """How a member of an allocation ended."""

    EXITED = "exited"
    SIGNALED = "signaled"
    OOM_KILLED = "oom_killed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    FENCED = "fenced"
    START_FAILED = "start_failed"
    SUPERVISOR_LOST = "supervisor_lost"
    NODE_LOST = "node_lost"
    GANG_STOPPED = "gang_stopped"

    @property
    def is_infrastructure(self) -> bool:
        """Whether the fleet, not the job, is to blame: the job is tried again and not charged."""
        return self in (ExitReason.FENCED, ExitReason.SUPERVISOR_LOST, ExitReason.NODE_LOST)


class JobPriority(IntEnum):
    """Priority in the queue; higher goes first."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


class TopologyDomain(Enum):
    """How near to each other the GPUs of a gang must be; `ANY` means as near as there is room for."""

    ANY = "any"
    NVLINK = "nvlink"
    NODE = "node"
    RACK = "rack"
    ZONE = "zone"


WHOLE_GPU_MILLI: Final = 1_000
"""Thousandths of a whole GPU."""


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """What a job needs. Empty and zero mean "any"; `gpu_count` is the total over all nodes.

    `gpu_milli` is a part of one GPU in thousandths, 0 for whole GPUs, and `share_memory_bytes` the GPU memory that goes
    with it, 0 for a part in proportion. With a `mig_profile`, `gpu_count` counts MIG devices of that profile.
    `node_labels` must all be there, `exclude_nodes` are names or ids; jobs of one team with the same `anti_affinity`
    never share a node.
    """

    gpu_types: tuple[str, ...] = ()
    gpu_count: int = 0
    node_count: int = 0
    min_gpu_memory_bytes: int = 0
    exclude_gpu_types: tuple[str, ...] = ()
    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_milli: int = 0
    share_memory_bytes: int = 0
    mig_profile: str = ""
    node_labels: tuple[tuple[str, str], ...] = ()
    exclude_nodes: tuple[str, ...] = ()
    anti_affinity: str = ""
    exclusive_nodes: bool = False
    topology: TopologyDomain = TopologyDomain.ANY

    @property
    def gpus(self) -> float:
        """GPUs asked for; a part counts as a part, a MIG device as one."""
        return self.gpu_milli / WHOLE_GPU_MILLI if self.gpu_milli else float(self.gpu_count)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job runs and needs. Exactly one of command, image or template decides the program.

    `max_runtime_seconds` counts over all charged attempts. `environment` holds user variables only.
    `checkpoint_signal` is a signal's name such as SIGUSR1, sent up to `checkpoint_seconds` before SIGTERM when the
    fleet itself moves or preempts the job. `executor` is empty for our own daemons.
    """

    name: str
    resources: ResourceRequest
    command: str = ""
    image: str = ""
    template: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    max_runtime_seconds: int = 0
    stop_grace_seconds: int = 0
    priority: JobPriority = JobPriority.NORMAL
    depends_on: tuple[JobId, ...] = ()
    max_attempts: int = 0
    checkpoint_signal: str = ""
    checkpoint_seconds: int = 0
    executor: str = ""


@dataclass(frozen=True, slots=True)
class AllocationMember:
    """The part of an allocation on one node."""

    rank: int
    node_id: NodeId
    node_name: str
    gpu_uuids: tuple[str, ...]
    state: AllocationState = AllocationState.PENDING
    exit_reason: ExitReason | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    peak_memory_bytes: int = 0
    gpu_seconds: float = 0.0
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """One attempt of a job on named GPUs. `epoch` is the attempt, from 1.

    `gpu_milli` is what it holds of each of its GPUs, in thousandths; `preempted_for` the job that it makes way for.

    `waived` means the attempt was lost by the fleet's own fault and is not charged; `moved`, that it was asked to stop
    so that the job can go on elsewhere.
    """

    id: AllocationId
    job_id: JobId
    epoch: int
    state: AllocationState
    gpu_type: str
    price_usd_per_gpu_hour: Decimal
    max_runtime_seconds: int
    master_address: str
    master_port: int
    placement_reason: str
    created_at: datetime
    members: tuple[AllocationMember, ...] = ()
    stop_requested: bool = False
    cost_usd: Decimal = Decimal(0)
    waived: bool = False
    ended_at: datetime | None = None
    moved: bool = False
    gpu_milli: int = WHOLE_GPU_MILLI
    preempted_for: JobId | None = None

    @property
    def gpu_count(self) -> int:
        """GPUs held over all members."""
        return sum(len(member.gpu_uuids) for member in self.members)

    @property
    def gpus(self) -> float:
        """GPUs held over all members; parts count as parts, MIG devices as one each."""
        return self.gpu_count * self.gpu_milli / WHOLE_GPU_MILLI

    @property
    def gpu_seconds(self) -> float:
        """GPU-seconds used over all members; parts count as parts."""
        return sum(member.gpu_seconds for member in self.members)


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    `epoch` is the number of attempts so far, `moves` how many of them the fleet itself has moved elsewhere;
    `allocations` holds them, newest last. `team` is a path such as "research/nlp", empty for none.
    """

    id: JobId
    goal_id: GoalId | None
    user_id: UserId
    user_email: str
    spec: JobSpec
    state: JobState
    status_reason: str
    epoch: int
    provider: str
    created_at: datetime
    queued_at: datetime
    version: int
    cancel_requested: bool = False
    cost_usd: Decimal = Decimal(0)
    reserved_usd: Decimal = Decimal(0)
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    allocations: tuple[Allocation, ...] = field(default=())
    moves: int = 0
    team: str = ""
