"""Health: the conditions of hosts, their GPUs and links, as their daemons see them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orquanta.types.repairs import RepairRung


class ConditionScope(StrEnum):
    """What a condition is about."""

    UNKNOWN = "unknown"
    HOST = "host"
    GPU = "gpu"
    LINK = "link"


class ConditionSeverity(StrEnum):
    """How bad a condition is: what is `fatal` takes no jobs, what is under a `warning` serves on."""

    UNKNOWN = "unknown"
    INFO = "info"
    WARNING = "warning"
    FATAL = "fatal"


class EvidenceSource(StrEnum):
    """Where a piece of evidence comes from."""

    UNKNOWN = "unknown"
    KERNEL = "kernel"
    NVML = "nvml"
    DCGM = "dcgm"
    HOST = "host"
    CUSTOM = "custom"
    DAEMON = "daemon"


class Authority(StrEnum):
    """Who says which repair fits: the driver wins over the vendor's catalogue, that one over a rule."""

    UNKNOWN = "unknown"
    DRIVER = "driver"
    CATALOGUE = "catalogue"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class ConditionEvidence:
    """One observation behind a condition. `id` is unique on its host; the time is by the host's clock."""

    id: str
    source: EvidenceSource
    text: str
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Condition:
    """Something wrong with a host, a GPU or a link, for as long as it lasts.

    `id` is the same for the same trouble of the same thing. `code` is the XID or SXid, 0 if there is none.
    `repair` is the gentlest that fits and `authority` who says so; None if none is needed. A `sticky` one ends by a
    repair, a reboot or an operator, never by silence. `acknowledged_by` is empty if nobody has; an acknowledged one
    proposes no repair. `earlier_repairs` counts those of the same GPU or host within 30 days.
    """

    id: str
    scope: ConditionScope
    subject: str
    kind: str
    code: int
    severity: ConditionSeverity
    summary: str
    gpu_uuid: str
    pci_bus_id: str
    repair: RepairRung | None
    authority: Authority | None
    vendor_action: str
    sticky: bool
    count: int
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    evidence: tuple[ConditionEvidence, ...]
    acknowledged_by: str
    process_ids: tuple[int, ...]
    service: str
    earlier_repairs: int
