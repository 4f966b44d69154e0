"""The values that one tick of sampling yields. None means that the driver does not have the value."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntFlag


class ThrottleReason(IntFlag):
    """Why clocks are held back: NVML's clocks-event-reasons bits."""

    NONE = 0
    GPU_IDLE = 0x1
    APPLICATIONS_CLOCKS_SETTING = 0x2
    SW_POWER_CAP = 0x4
    HW_SLOWDOWN = 0x8
    SYNC_BOOST = 0x10
    SW_THERMAL_SLOWDOWN = 0x20
    HW_THERMAL_SLOWDOWN = 0x40
    HW_POWER_BRAKE_SLOWDOWN = 0x80
    DISPLAY_CLOCK_SETTING = 0x100
    BOARD_LIMIT = 0x200
    RELIABILITY = 0x400


class RecoveryAction(Enum):
    """What the driver itself asks for (NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, driver 570 and later)."""

    NONE = 0
    GPU_RESET = 1
    NODE_REBOOT = 2
    DRAIN_P2P = 3
    DRAIN_AND_RESET = 4
    UNKNOWN = -1
    """A value that this version does not know: treat it as a demand for attention."""


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """One NVML call that failed for another reason than not being supported."""

    function: str
    """pynvml's name of the call, such as `nvmlDeviceGetPowerUsage`."""
    error: str
    """NVML's name of the error without its prefix, such as `GPU_IS_LOST`."""


@dataclass(frozen=True, slots=True)
class EccCounts:
    """ECC errors: volatile since the driver was loaded, aggregate over the GPU's life."""

    corrected_volatile: int | None
    uncorrected_volatile: int | None
    corrected_aggregate: int | None
    uncorrected_aggregate: int | None


@dataclass(frozen=True, slots=True)
class PcieLink:
    """The PCIe link now and at best. A lower generation on an idle GPU is normal."""

    generation: int | None
    generation_maximum: int | None
    width: int | None
    width_maximum: int | None
    replays: int | None


@dataclass(frozen=True, slots=True)
class RemappedRows:
    """Memory rows put aside on A100 and later. Pending: done at the next reset. Failure: no spare row was left."""

    correctable: int
    uncorrectable: int
    pending: bool
    failure: bool


@dataclass(frozen=True, slots=True)
class RetiredPages:
    """Memory pages put aside on GPUs before A100."""

    single_bit: int
    double_bit: int
    pending: bool


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on the GPU; its memory is None where the driver does not say."""

    pid: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU at one moment."""

    index: int
    uuid: str
    """Remembered when the GPU is lost; empty if the driver never gave it."""
    utilization_percent: int | None
    memory_utilization_percent: int | None
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    power_watts: float | None
    power_limit_watts: float | None
    energy_joules: float | None
    temperature_celsius: int | None
    memory_temperature_celsius: int | None
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    performance_state: int | None
    throttle_reasons: ThrottleReason | None
    ecc: EccCounts
    pcie: PcieLink
    remapped_rows: RemappedRows | None
    retired_pages: RetiredPages | None
    recovery_action: RecoveryAction | None
    processes: tuple[GpuProcess, ...] | None
    """At most 256."""
    failures: tuple[ReadFailure, ...]

    @property
    def error(self) -> str | None:
        """NVML's name of the first failure, such as `GPU_IS_LOST`; None when every call answered."""
        return self.failures[0].error if self.failures else None


@dataclass(frozen=True, slots=True)
class HostSample:
    """The host's processors and memory at one moment."""

    cpu_percent: float | None
    """Busy share of all processors since the sample before, 0 to 100; None in the first sample."""
    load_1m: float | None
    load_5m: float | None
    load_15m: float | None
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    swap_used_bytes: int | None
    uptime_seconds: float | None


@dataclass(frozen=True, slots=True)
class TelemetryBatch:
    """Everything that one tick read."""

    sequence: int
    """Counts up by one with each batch from 1, since the daemon started."""
    sampled_at: datetime
    """Aware, UTC, when reading began."""
    duration_seconds: float
    """How long reading took."""
    nvml_error: str | None
    """Why there are no GPUs to read, such as `LIBRARY_NOT_FOUND`; None when NVML is open."""
    host: HostSample
    gpus: tuple[GpuSample, ...]
