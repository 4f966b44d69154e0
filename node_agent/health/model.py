"""Conditions: what is wrong with a host, its GPUs and links now, and how that changes."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from typing import Final

MAXIMUM_EVIDENCE: Final = 8
"""Pieces of evidence that a condition keeps: the first two and the newest."""
MAXIMUM_CONDITIONS: Final = 500
"""Conditions on one host at once; of more, the least severe are not kept, and one condition says so."""


class Scope(Enum):
    """What a condition is about."""

    HOST = "host"
    GPU = "gpu"
    LINK = "link"


class Severity(IntEnum):
    """How bad a condition is; a GPU with a warning is degraded, one with a fatal condition takes no jobs."""

    INFO = 1
    WARNING = 2
    FATAL = 3


class Rung(IntEnum):
    """The rungs of the repair ladder, gentlest first. The numbers are those of the contract."""

    STOP_PROCESS = 1
    MOVE_JOB = 2
    RESET_GPU = 3
    RESTART_SERVICE = 4
    RELOAD_DRIVER = 5
    REBOOT_HOST = 6
    QUARANTINE = 7
    VERIFY = 8


class Authority(Enum):
    """Who says which repair fits. The driver wins over the catalogue, the catalogue over a rule."""

    DRIVER = "driver"
    CATALOGUE = "catalogue"
    RULE = "rule"


class Source(Enum):
    """Where a piece of evidence comes from."""

    KERNEL = "kernel"
    NVML = "nvml"
    DCGM = "dcgm"
    HOST = "host"
    CUSTOM = "custom"
    DAEMON = "daemon"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation behind a condition. `text` is printable and has at most 500 characters."""

    id: str
    source: Source
    text: str
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong, for as long as it lasts. `id` is the same for the same trouble of the same thing."""

    id: str
    """Such as `gpu/GPU-1234/xid-79`, `host/disk/var`, `link/GPU-1234/nvlink-3`."""
    scope: Scope
    subject: str
    kind: str
    """Such as XID, SXID, GPU_LOST, ECC_UNCORRECTED, ROW_REMAP_PENDING, ROW_REMAP_FAILED, NVLINK_DOWN, THERMAL,
    PROBE_STALLED, DISK_FULL, SERVICE_DOWN, PORT_DOWN, LEMON."""
    severity: Severity
    summary: str
    first_seen_at: datetime
    last_seen_at: datetime
    count: int = 1
    code: int = 0
    gpu_uuid: str = ""
    pci_bus_id: str = ""
    repair: Rung | None = None
    authority: Authority | None = None
    vendor_action: str = ""
    sticky: bool = False
    evidence: tuple[Evidence, ...] = ()
    acknowledged_by: str = ""
    process_ids: tuple[int, ...] = ()
    service: str = ""
    earlier_repairs: int = 0


class ChangeKind(Enum):
    """What happened to a condition."""

    RAISED = "raised"
    CHANGED = "changed"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one condition that is worth an event. `id` is unique in the fleet (a UUID)."""

    id: str
    kind: ChangeKind
    condition: Condition
    occurred_at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GpuIdentity:
    """A GPU of this host, so that PCI ids of kernel lines find their UUIDs. `driver_version` such as "580.65.06"."""

    uuid: str
    index: int
    pci_bus_id: str
    gpu_type: str
    serial: str = ""
    driver_version: str = ""


@dataclass(frozen=True, slots=True)
class JobOnGpu:
    """A job that holds a GPU, with the processes that are known to be its own."""

    job_id: str
    allocation_id: str
    process_ids: frozenset[int] = frozenset()
