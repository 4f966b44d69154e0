"""The fleet in figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class GpuTypeMetrics:
    """GPUs of one model. `utilization_percent` is None without telemetry.

    Of those `allocated` a job holds something, of `partly_allocated` of them not all is held. `used_milli` is how much
    of them is held, in thousandths of a GPU.
    """

    gpu_type: str
    total: int
    allocated: int
    free: int
    utilization_percent: float | None
    price_usd_per_gpu_hour: Decimal
    used_milli: int = 0
    partly_allocated: int = 0


@dataclass(frozen=True, slots=True)
class TelemetryIntake:
    """What became of the batches of telemetry since the control plane started.

    `refused`: they made no sense. `shed`: more came than could be taken. `pauses`: how often none was taken for some
    seconds.
    """

    batches: int = 0
    refused: int = 0
    shed: int = 0
    pauses: int = 0


@dataclass(frozen=True, slots=True)
class FleetMetrics:
    """The fleet's figures at one moment; the counts are keyed by state, for example "ready", or by kind, "XID"."""

    gpu_types: tuple[GpuTypeMetrics, ...]
    nodes_by_state: Mapping[str, int]
    jobs_by_state: Mapping[str, int]
    goals_by_state: Mapping[str, int]
    spent_usd: Decimal
    reserved_usd: Decimal
    measured_at: datetime | None
    incidents_by_state: Mapping[str, int]
    conditions_by_kind: Mapping[str, int]
    telemetry: TelemetryIntake = TelemetryIntake()


@dataclass(frozen=True, slots=True)
class GpuSample:
    """Telemetry of one GPU. A value that the driver does not tell is None."""

    uuid: str
    utilization_percent: int | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: int | None
    power_watts: float | None
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    clock_event_reasons: int | None
    ecc_corrected: int | None
    ecc_uncorrected: int | None
    pcie_replays: int | None
    error: str


@dataclass(frozen=True, slots=True)
class HostSample:
    """Telemetry of the host itself."""

    cpu_percent: float | None
    memory_used_bytes: int | None
    load_1m: float | None


@dataclass(frozen=True, slots=True)
class NodeTelemetry:
    """The newest telemetry of one node; GPUs in index order."""

    node_id: str
    sampled_at: datetime | None
    gpus: tuple[GpuSample, ...]
    host: HostSample
    batches: int
    received_at: datetime | None


@dataclass(frozen=True, slots=True)
class GpuMinute:
    """One GPU during one minute: mean utilization and power, the most memory and heat."""

    uuid: str
    utilization_percent: float
    memory_used_bytes_max: int
    temperature_celsius_max: int
    power_watts: float


@dataclass(frozen=True, slots=True)
class TelemetryRollup:
    """A node during a minute in which it could not send raw samples; `samples` were taken in it."""

    started_at: datetime | None
    samples: int
    gpus: tuple[GpuMinute, ...]
