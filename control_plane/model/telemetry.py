"""Telemetry of one minute, for the time in which a host could not send raw samples."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class GpuMinute:
    """One GPU during one minute: mean utilization in percent and power in watts, the most memory and heat."""

    uuid: str
    utilization_percent: float
    memory_used_bytes_max: int
    temperature_celsius_max: int
    power_watts: float


@dataclass(frozen=True, slots=True)
class Rollup:
    """A host's GPUs during the minute that began at `started_at` by its clock; `samples` were taken in it."""

    started_at: datetime
    samples: int
    gpus: tuple[GpuMinute, ...]
