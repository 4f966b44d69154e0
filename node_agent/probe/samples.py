"""The values that one tick of sampling yields. None means that the driver does not have the value."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntFlag
from typing import Final

GPU_MISSING: Final = "GPU_MISSING"
"""The error of a GPU that was there and that the driver does not list any more."""


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
class BankSpares:
    """How many memory banks have which share of their spare rows left; a bank with none cannot be repaired again."""

    maximum: int
    high: int
    partial: int
    low: int
    none: int


@dataclass(frozen=True, slots=True)
class TemperatureLimits:
    """Where the GPU slows itself down, where it switches itself off, and the most its memory bears, in Celsius."""

    slowdown_celsius: int | None
    shutdown_celsius: int | None
    memory_maximum_celsius: int | None


@dataclass(frozen=True, slots=True)
class NvlinkSample:
    """One NVLink. Counters are since the driver was loaded; None where the generation of link does not count that."""

    link: int
    active: bool
    replay_errors: int | None = None
    recovery_errors: int | None = None
    crc_errors: int | None = None
    recovery_events: int | None = None
    """NVLink 5 and later: times that the link was trained again, with or without success."""
    effective_errors: int | None = None
    """NVLink 5 and later: errors that forward error correction left."""

    @property
    def errors(self) -> int | None:
        """All counters together; None if there is none."""
        counts = (
            self.replay_errors,
            self.recovery_errors,
            self.crc_errors,
            self.recovery_events,
            self.effective_errors,
        )
        known = [count for count in counts if count is not None]
        return sum(known) if known else None


class FabricState(Enum):
    """How far a GPU of an NVSwitch system has come in joining the fabric."""

    NOT_SUPPORTED = 0
    NOT_STARTED = 1
    IN_PROGRESS = 2
    COMPLETED = 3
    UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Fabric:
    """What the driver says of the NVLink fabric. None where it does not say."""

    state: FabricState
    status: int
    """NVML status of joining; 0 is success, and means something only once COMPLETED."""
    degraded_bandwidth: bool | None = None
    route_recovery: bool | None = None
    route_unhealthy: bool | None = None
    access_timeout_recovery: bool | None = None


@dataclass(frozen=True, slots=True)
class GpmSample:
    """Means over the time since the slow set before, on Hopper and later; shares in percent, rates in MiB/s."""

    sm_percent: float | None
    tensor_percent: float | None
    memory_bandwidth_percent: float | None
    pcie_transmit_mib_per_second: float | None
    pcie_receive_mib_per_second: float | None
    nvlink_transmit_mib_per_second: float | None
    nvlink_receive_mib_per_second: float | None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on the GPU; its memory is None where the driver does not say."""

    pid: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU at one moment. Values of the slow set, which is read every ten seconds, are repeated in between."""

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
    temperature_margin_celsius: int | None = None
    """Degrees left until the GPU slows itself down; 0 or less while it does."""
    temperature_limits: TemperatureLimits | None = None
    """Slow set."""
    nvlinks: tuple[NvlinkSample, ...] | None = None
    """Slow set; by number of link. None where the model has none, or they cannot be read."""
    bank_spares: BankSpares | None = None
    """Slow set; A100 and later."""
    fabric: Fabric | None = None
    """Slow set; NVSwitch systems from Hopper on."""
    mig_enabled: bool | None = None
    """Slow set; None if the model has no MIG."""
    gpm: GpmSample | None = None
    """Slow set; Hopper and later, from the second reading on."""

    @property
    def error(self) -> str | None:
        """NVML's name of the first failure, such as `GPU_IS_LOST`; None when every call answered."""
        return self.failures[0].error if self.failures else None

    @property
    def nvlinks_active(self) -> int | None:
        """How many NVLinks are up; None where they cannot be read."""
        return None if self.nvlinks is None else sum(link.active for link in self.nvlinks)


def unread(index: int, uuid: str, failure: ReadFailure) -> GpuSample:
    """Return the sample of a GPU of which nothing could be read."""
    return GpuSample(
        index=index,
        uuid=uuid,
        utilization_percent=None,
        memory_utilization_percent=None,
        memory_total_bytes=None,
        memory_used_bytes=None,
        power_watts=None,
        power_limit_watts=None,
        energy_joules=None,
        temperature_celsius=None,
        memory_temperature_celsius=None,
        sm_clock_mhz=None,
        memory_clock_mhz=None,
        performance_state=None,
        throttle_reasons=None,
        ecc=EccCounts(None, None, None, None),
        pcie=PcieLink(None, None, None, None, None),
        remapped_rows=None,
        retired_pages=None,
        recovery_action=None,
        processes=None,
        failures=(failure,),
    )


@dataclass(frozen=True, slots=True)
class NvmlReading:
    """All GPUs in one pass over NVML."""

    duration_seconds: float
    """How long reading took."""
    nvml_error: str | None
    """Why there are no GPUs to read, such as `LIBRARY_NOT_FOUND`; None when NVML is open."""
    gpus: tuple[GpuSample, ...]


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
    """Why GPUs cannot be read: NVML's name, such as `LIBRARY_NOT_FOUND`, `UNINITIALIZED` while the GPUs are let go
    of, `PROBE_STALLED` or `PROBE_DIED` while the probe is away; None when NVML is open. The GPUs that are known are in
    the batch all the same, each with its error."""
    host: HostSample
    gpus: tuple[GpuSample, ...]
