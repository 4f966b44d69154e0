"""What one look at a DCGM exporter yields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from node_agent.probe.observations import HostReport, ProbeStall

MAXIMUM_GPUS: Final = 64
MAXIMUM_LINKS: Final = 64


class TooMuch(Exception):
    """The page is not one of an exporter of one host: its lines, series or GPUs have no end."""


@dataclass(frozen=True, slots=True)
class DcgmGpu:
    """A GPU as DCGM has it. The figures are by DCGM's field names and in DCGM's units; blanks are left out."""

    uuid: str
    index: str
    model_name: str
    pci_bus_id: str
    figures: Mapping[str, float]
    links: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Figures of single NVLinks, where the exporter has them; never part of `figures`."""


@dataclass(frozen=True, slots=True)
class DcgmReading:
    """One scrape. A scrape that failed has no GPUs, and a report that says why."""

    scraped_at: datetime
    hostname: str = ""
    gpus: Mapping[str, DcgmGpu] = field(default_factory=dict)
    """By UUID."""
    reports: tuple[HostReport, ...] = ()
    """What changed: the exporter's own standing, GPUs that are not shown any more or again."""
    stall: ProbeStall | None = None
    """Set when the exporter begins to hang and when it answers again."""
