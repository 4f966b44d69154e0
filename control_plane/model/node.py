"""Nodes: GPU hosts that run the daemon."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from control_plane.model.identity import CertificateSerial
from control_plane.model.ids import NodeId, TokenId


class NodeState(Enum):
    """Where a node is in its life."""

    JOINING = "joining"
    READY = "ready"
    CORDONED = "cordoned"
    DRAINING = "draining"
    REPAIRING = "repairing"
    VERIFYING = "verifying"
    QUARANTINED = "quarantined"
    LOST = "lost"
    REVOKED = "revoked"


class NodeHold(Enum):
    """Why a node is out of service, whatever its link does: it outlives lost leases, reboots and restarts."""

    CORDONED = "cordoned"
    DRAINING = "draining"
    REPAIRING = "repairing"
    VERIFYING = "verifying"
    QUARANTINED = "quarantined"

    @property
    def state(self) -> NodeState:
        """The state that a node with this hold shows while it is not lost."""
        return NodeState(self.value)


class GpuHealth(Enum):
    """How well a GPU is."""

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
    """A GPU as its driver describes it."""

    index: int
    uuid: str
    gpu_type: str
    product_name: str
    memory_bytes: int
    pci_bus_id: str = ""
    serial: str = ""
    nvlink_peer_uuids: tuple[str, ...] = ()
    mig_enabled: bool = False
    mig_device_uuids: tuple[str, ...] = ()
    compute_capability: str = ""
    power_limit_watts: float = 0.0
    error: str = ""
    mig_devices: tuple[MigDevice, ...] = ()

    @property
    def health(self) -> GpuHealth:
        """A GPU that the driver cannot read takes no jobs."""
        return GpuHealth.FAILED if self.error else GpuHealth.HEALTHY


@dataclass(frozen=True, slots=True)
class HostInventory:
    """A host as its daemon describes it. `address` is where gang members on other hosts reach it.

    `executor` names the engine of the site that its jobs are handed to; empty if it runs them itself.
    """

    hostname: str
    boot_id: str
    agent_version: str
    gpus: tuple[GpuInventory, ...]
    kernel: str = ""
    operating_system: str = ""
    cpu_model: str = ""
    cpu_count: int = 0
    memory_bytes: int = 0
    driver_version: str = ""
    cuda_version: str = ""
    virtual_gpus: bool = False
    container_engine: str = ""
    enforceable_limits: tuple[str, ...] = ()
    address: str = ""
    executor: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node. `cordoned` and `hold` are kept apart from `state`, so that a lost node comes back as what it was.

    `connected` is true while its daemon's link is up in some control plane. `cordoned` is a person's word; `hold` says
    that it is drained, repaired, tested or quarantined. `unread` says why nobody knows what it is made of although it
    was written down: then it takes no jobs until its host tells again.
    """

    id: NodeId
    name: str
    state: NodeState
    status_reason: str
    cordoned: bool
    connected: bool
    inventory: HostInventory | None
    labels: Mapping[str, str]
    certificate_serial: CertificateSerial
    certificate_expires_at: datetime
    last_seen_at: datetime | None
    created_at: datetime
    version: int
    lost_at: datetime | None = None
    hold: NodeHold | None = None
    unread: str = ""


@dataclass(frozen=True, slots=True)
class JoinTokenRecord:
    """A join token without its secret."""

    id: TokenId
    created_by: str
    created_at: datetime
    expires_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    used_at: datetime | None = None
    used_by_node_id: NodeId | None = None
    revoked_at: datetime | None = None
