"""Health as hosts see it: conditions are what is wrong now, health events are how they change."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum

from control_plane.model.repair import Rung


class ConditionScope(Enum):
    """What a condition is about."""

    HOST = "host"
    GPU = "gpu"
    LINK = "link"


class ConditionSeverity(IntEnum):
    """How bad a condition is; a GPU with a warning is degraded, one with a fatal condition takes no jobs."""

    INFO = 1
    WARNING = 2
    FATAL = 3


class EvidenceSource(Enum):
    """Where a piece of evidence comes from."""

    KERNEL = "kernel"
    NVML = "nvml"
    DCGM = "dcgm"
    HOST = "host"
    CUSTOM = "custom"
    DAEMON = "daemon"


class Authority(Enum):
    """Who says which repair fits. The driver wins over the catalogue, the catalogue over a rule."""

    DRIVER = "driver"
    CATALOGUE = "catalogue"
    RULE = "rule"


class HealthEventKind(Enum):
    """What happened to a condition."""

    RAISED = "raised"
    CHANGED = "changed"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class ConditionEvidence:
    """One observation behind a condition. `text` is printable and has at most 500 characters."""

    id: str
    source: EvidenceSource
    text: str
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong with a host, for as long as it lasts. Times are by the host's clock.

    `id` is the same for the same trouble of the same thing, and unique on its host alone.
    """

    id: str
    scope: ConditionScope
    subject: str
    kind: str
    severity: ConditionSeverity
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
    evidence: tuple[ConditionEvidence, ...] = ()
    acknowledged_by: str = ""
    process_ids: tuple[int, ...] = ()
    service: str = ""
    earlier_repairs: int = 0


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """A change of one condition."""

    id: str
    kind: HealthEventKind
    condition: Condition
    occurred_at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ConditionOrder:
    """An operator's word about a condition; one first seen after `at` is not meant."""

    condition_id: str
    by: str
    clear: bool
    at: datetime
