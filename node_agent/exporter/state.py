"""What the endpoint shows, put together by whoever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from node_agent.health.model import Condition, Rung
from node_agent.probe.samples import TelemetryBatch
from node_agent.repair.model import RepairState


@dataclass(frozen=True, slots=True)
class GpuLabels:
    """What a GPU is called in labels. Kept while it is lost, so that its series stay."""

    uuid: str
    index: int
    pci_bus_id: str = ""
    product_name: str = ""
    """As the driver has it, such as "NVIDIA H100 80GB HBM3"."""


@dataclass(frozen=True, slots=True)
class ExporterState:
    """The daemon at one moment."""

    hostname: str
    version: str
    """The daemon's."""
    driver_version: str = ""
    gpus: tuple[GpuLabels, ...] = ()
    """Every GPU that this host has or had since the daemon started, at most 64."""
    batch: TelemetryBatch | None = None
    """The newest sample."""
    batch_age_seconds: float | None = None
    last_xids: Mapping[str, int] = field(default_factory=dict)
    """The last XID of each GPU, by UUID; a GPU that had none is left out."""
    conditions: tuple[Condition, ...] = ()
    spool_events: int = 0
    spool_bytes: int = 0
    spool_dropped: int = 0
    telemetry_dropped: int = 0
    link_up: bool = False
    probe_stalls: Mapping[str, int] = field(default_factory=dict)
    """By probe: "nvml", "dcgm"."""
    repairs: Mapping[tuple[Rung, RepairState], int] = field(default_factory=dict)
    """Repairs that ended, or are under way, since the daemon started."""
    kernel_lines_read: int = 0
    kernel_lines_lost: int = 0
