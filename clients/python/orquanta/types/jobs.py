"""Jobs: one command or image that runs on GPUs, alone or as a gang over several nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is in its life."""

    UNKNOWN = "unknown"
    QUEUED = "queued"
    PLACED = "placed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True if the job never changes again."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class AllocationState(StrEnum):
    """Where an allocation or one member of it is in its life."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class ExitReason(StrEnum):
    """How a member of an allocation ended."""

    UNKNOWN = "unknown"
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


class JobPriority(StrEnum):
    """Priority in the queue."""

    UNKNOWN = "unknown"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class TopologyDomain(StrEnum):
    """How near to each other the GPUs of a gang must be; `ANY` means as near as there is room for."""

    UNKNOWN = "unknown"
    ANY = "any"
    NVLINK = "nvlink"
    NODE = "node"
    RACK = "rack"
    ZONE = "zone"


class LogStream(StrEnum):
    """Which stream of a process a chunk came from."""

    UNKNOWN = "unknown"
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """What a job needs.

    `gpu_count` counts over all nodes, 0 means the CPU alone; `node_count` 0 lets the scheduler choose;
    `gpu_types` empty means any. CPU and memory are for each node; 0 means unlimited.
    `gpu_milli` is a part of one GPU in thousandths (0 for whole GPUs) and `share_memory_bytes` the GPU memory that goes
    with it (0 for a part in proportion); with a `mig_profile`, `gpu_count` counts MIG devices.
    All `node_labels` must be there, `exclude_nodes` are names or ids; jobs of one team with the same `anti_affinity`
    never share a node, and a job with `exclusive_nodes` shares its nodes with none.
    """

    gpu_count: int = 0
    gpu_types: tuple[str, ...] = ()
    node_count: int = 0
    min_gpu_memory_bytes: int = 0
    exclude_gpu_types: tuple[str, ...] = ()
    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_milli: int = 0
    share_memory_bytes: int = 0
    mig_profile: str = ""
    node_labels: Mapping[str, str] = field(default_factory=dict)
    exclude_nodes: tuple[str, ...] = ()
    anti_affinity: str = ""
    exclusive_nodes: bool = False
    topology: TopologyDomain = TopologyDomain.ANY


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job runs and needs. Zero means the server's default, empty means not given.

    `command` is run by `/bin/sh -c`, on the host or in `image`; `template` names a shipped program that runs
    when neither is given. `max_runtime_seconds` counts over all attempts.
    `checkpoint_signal` (such as SIGUSR1) is sent up to `checkpoint_seconds` before SIGTERM when the fleet itself moves
    or preempts the job. `executor` empty means the fleet's own daemons.
    """

    name: str
    resources: ResourceRequest = field(default_factory=ResourceRequest)
    command: str = ""
    image: str = ""
    template: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    max_runtime_seconds: int = 0
    stop_grace_seconds: int = 0
    priority: JobPriority = JobPriority.NORMAL
    depends_on: tuple[str, ...] = ()
    max_attempts: int = 0
    checkpoint_signal: str = ""
    checkpoint_seconds: int = 0
    executor: str = ""


@dataclass(frozen=True, slots=True)
class AllocationMember:
    """The part of a gang on one node. `exit_reason` is None while it has not ended."""

    rank: int
    node_id: str
    node_name: str
    gpu_uuids: tuple[str, ...]
    state: AllocationState
    exit_reason: ExitReason | None
    exit_code: int | None
    signal: int | None
    message: str
    peak_memory_bytes: int
    gpu_seconds: float
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Allocation:
    """One attempt (`epoch`, from 1) of a job on named GPUs; members by rank."""

    id: str
    job_id: str
    epoch: int
    state: AllocationState
    members: tuple[AllocationMember, ...]
    gpu_type: str
    price_usd_per_gpu_hour: Decimal
    cost_usd: Decimal
    placement_reason: str
    created_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Job:
    """A job. `status_reason` says for a person why it is in its state; `allocations` has the newest last.

    `team` is the team that it counts for, for example "research/nlp"; empty if its submitter has none.
    """

    id: str
    goal_id: str
    user_id: str
    user_email: str
    spec: JobSpec
    state: JobState
    status_reason: str
    epoch: int
    allocations: tuple[Allocation, ...]
    provider: str
    cost_usd: Decimal
    reserved_usd: Decimal
    exit_code: int | None
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    version: int
    team: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """A submitted job, and the id of the action that awaits approval (empty if none does)."""

    job: Job
    action_id: str


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of a job's output as written: not necessarily text, not necessarily whole lines.

    `lost_bytes` were dropped before it because a bound was reached.
    """

    epoch: int
    rank: int
    stream: LogStream
    data: bytes
    read_at: datetime | None
    lost_bytes: int


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """A named program that runs when a job names neither command nor image."""

    name: str
    description: str
    intent: str
    default_max_runtime_seconds: int
