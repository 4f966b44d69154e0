"""Nodes: GPU hosts that run the daemon."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orquanta.types.health import Condition
from orquanta.types.repairs import Repair


class NodeState(StrEnum):
    """Where a node is in its life."""

    UNKNOWN = "unknown"
    JOINING = "joining"
    READY = "ready"
    CORDONED = "cordoned"
    DRAINING = "draining"
    REPAIRING = "repairing"
    VERIFYING = "verifying"
    QUARANTINED = "quarantined"
    LOST = "lost"
    REVOKED = "revoked"


class GpuHealth(StrEnum):
    """How well a GPU is."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MigDevice:
    """A part of a GPU with memory and processors of its own. `profile` is for example "1g.10gb"."""

    uuid: str
    profile: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class GpuInventory:
    """A GPU as its driver describes it. `error` says why it cannot be read, if it cannot."""

    index: int
    uuid: str
    gpu_type: str
    product_name: str
    memory_bytes: int
    pci_bus_id: str
    serial: str
    nvlink_peer_uuids: tuple[str, ...]
    mig_enabled: bool
    mig_device_uuids: tuple[str, ...]
    compute_capability: str
    power_limit_watts: float
    error: str
    mig_devices: tuple[MigDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class HostInventory:
    """A host as its daemon describes it; GPUs in index order."""

    hostname: str
    kernel: str
    operating_system: str
    cpu_model: str
    cpu_count: int
    memory_bytes: int
    driver_version: str
    cuda_version: str
    virtual_gpus: bool
    gpus: tuple[GpuInventory, ...]
    boot_id: str
    agent_version: str
    container_engine: str
    enforceable_limits: tuple[str, ...]
    executor: str
    address: str


@dataclass(frozen=True, slots=True)
class GpuHolder:
    """Who holds a GPU, or what of it. `milli` is in thousandths of the GPU: 1000 is all of it.

    `mig_device_uuid` is the MIG device that is held; empty if it is the GPU itself or a part of it.
    """

    allocation_id: str
    job_id: str
    milli: int
    mig_device_uuid: str = ""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as the control plane sees it. `used_milli` is how much of it `holders` hold, in thousandths.

    `allocation_id` and `job_id` are those of the first holder, empty while it is free.
    """

    inventory: GpuInventory
    health: GpuHealth
    allocation_id: str
    job_id: str
    holders: tuple[GpuHolder, ...] = ()
    used_milli: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A node; GPUs in index order.

    `conditions` are what is wrong with it now, worst first. `repair` is the one in progress or the last one.
    `incident_id` is that of its open incident, empty if there is none.
    """

    id: str
    name: str
    state: NodeState
    status_reason: str
    connected: bool
    inventory: HostInventory
    gpus: tuple[Gpu, ...]
    labels: Mapping[str, str]
    last_seen_at: datetime | None
    certificate_expires_at: datetime | None
    created_at: datetime | None
    version: int
    conditions: tuple[Condition, ...]
    repair: Repair | None
    incident_id: str


@dataclass(frozen=True, slots=True)
class Drain:
    """A node that is being drained, and the action that the governor took."""

    node: Node
    action_id: str


@dataclass(frozen=True, slots=True)
class OrderedRepair:
    """A repair or a test that was asked for; its progress is in `Node.repair` and in the incident.

    `repair_id` is empty while the action waits for an approval. A test has no action id to show.
    """

    node: Node
    repair_id: str
    incident_id: str
    action_id: str


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token, without its secret."""

    id: str
    created_by: str
    created_at: datetime | None
    expires_at: datetime | None
    used_at: datetime | None
    used_by_node_id: str
    revoked_at: datetime | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewJoinToken:
    """A join token with its secret, which the server never shows again, and the address to join at."""

    join_token: JoinToken
    secret: str
    server: str
