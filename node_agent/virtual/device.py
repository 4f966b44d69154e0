"""One virtual GPU: its identity, its state over time, and the knobs that faults turn."""

import re
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import pynvml

from node_agent.clock import Clock
from node_agent.virtual import physics
from node_agent.virtual.catalogue import MEBIBYTE
from node_agent.virtual.faults import Faults
from node_agent.virtual.gpu_model import GpuModel
from node_agent.virtual.identity import Identity, mig_uuid
from node_agent.virtual.load import GpuLoad, Load

REFRESH_SECONDS: Final = 0.05
"""Within this time the driver repeats its values, as a real one does; a change of load shows at once."""
EFFECTIVE_ERRORS: Final = -1
"""The key in `NvLink.errors` of what NVLink 5 counts instead of CRC errors; NVML has no such counter type."""
_MIG_PROFILE: Final = re.compile(r"(?P<slices>[1-7])g\.(?P<gigabytes>\d{1,3})gb", re.ASCII)
_MIG_SLICES: Final = 7


@dataclass(frozen=True, slots=True)
class GpuState:
    """What the sensors of one GPU show at one moment."""

    load: GpuLoad
    memory_used_bytes: int
    power_watts: float
    energy_joules: float
    celsius: float
    memory_celsius: float
    sm_clock_mhz: int
    memory_clock_mhz: int
    performance_state: int
    throttle_reasons: int
    pcie_generation: int


@dataclass(slots=True)
class MemoryErrors:
    """ECC counts by (error type, memory location), both as NVML numbers them."""

    volatile: dict[tuple[int, int], int] = field(default_factory=dict)
    aggregate: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, error_type: int, location: int, count: int) -> None:
        """Count errors since boot and over the GPU's life."""
        for counts in (self.volatile, self.aggregate):
            counts[error_type, location] = counts.get((error_type, location), 0) + count


@dataclass(slots=True)
class Repairs:
    """Memory that the GPU has put aside: remapped rows or retired pages, by what its model has."""

    correctable: int = 0
    uncorrectable: int = 0
    pending: bool = False
    failed: bool = False


@dataclass(slots=True)
class NvLink:
    """One NVLink: where it leads and whether it is up."""

    far_end: int
    active: bool = True
    errors: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One MIG device of a GPU."""

    uuid: str
    profile: str
    index: int
    gpu_instance_id: int
    memory_bytes: int


class VirtualGpu:
    """A GPU whose sensors follow the clock and the load on it.

    Tests and fault injection turn `faults`, `memory_errors`, `repairs`, `links`, the `pcie_*` values and the
    overrides; everything else follows from the model, the load and time.
    """

    def __init__(
        self,
        model: GpuModel,
        identity: Identity,
        *,
        link_ends: tuple[int, ...],
        load: Load,
        clock: Clock,
        symbols: Collection[str],
    ) -> None:
        self.model = model
        self.identity = identity
        self.faults = Faults(symbols)
        self.links = [NvLink(end) for end in link_ends]
        self.memory_errors = MemoryErrors()
        self.repairs = Repairs()
        self.power_limit_watts: float = model.power_limit_watts
        self.pcie_generation_cap = model.pcie_generation
        self.pcie_width = 16
        self.pcie_replays = 0
        self.graphics_process_ids: tuple[int, ...] = ()
        self.recovery_action = 0
        self.mig: tuple[MigInstance, ...] | None = None
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._temperature_override: float | None = None
        self._extra_throttle_reasons = 0
        self._read_at = clock.monotonic()
        self._celsius = physics.settled_celsius(model, model.power_idle_watts)
        self._energy_joules = 0.0
        self._power_watts: float = model.power_idle_watts
        self._state: GpuState | None = None

    @property
    def uuid(self) -> str:
        """The UUID as NVML writes it, such as `GPU-8d3b...`."""
        return self.identity.uuid

    def state(self) -> GpuState:
        """Return what the sensors show now. Safe from any thread."""
        load = self._load.of(self.identity.uuid)
        now = self._clock.monotonic()
        with self._lock:
            state = self._state
            if state is not None and state.load is load and now - self._read_at < REFRESH_SECONDS:
                return state
            self._advance(now)
            self._state = state = self._read(load)
            return state

    def override_temperature(self, celsius: float | None) -> None:
        """Show this temperature, and throttle accordingly, until it is taken back with None."""
        with self._lock:
            self._temperature_override = celsius
            self._state = None

    def force_throttle(self, reasons: int) -> None:
        """Add these clocks-event-reason bits to those that follow from the state; 0 takes them back."""
        with self._lock:
            self._extra_throttle_reasons = reasons
            self._state = None

    def record_memory_errors(
        self, *, corrected: int = 0, uncorrected: int = 0, location: int = pynvml.NVML_MEMORY_LOCATION_DRAM
    ) -> None:
        """Count ECC errors at a memory location (NVML_MEMORY_LOCATION_*)."""
        if corrected:
            self.memory_errors.add(pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, location, corrected)
        if uncorrected:
            self.memory_errors.add(pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, location, uncorrected)

    def partition(self, profiles: tuple[str, ...] | None) -> None:
        """Turn MIG on with these devices, such as `("3g.40gb", "4g.40gb")`, or off with None.

        Raises:
            ValueError: the model has no MIG, or the profiles are malformed or do not fit the GPU.
        """
        if profiles is None:
            self.mig = None
            return
        if not self.model.mig:
            raise ValueError(f"{self.model.name} has no MIG: use an A100, H100, H200 or B200")
        self.mig = self._partitions(profiles)

    def reset(self) -> None:
        """Do what a GPU reset does: come back from a loss, forget volatile errors, apply pending repairs."""
        self.faults.clear()
        self.memory_errors.volatile.clear()
        self.repairs.pending = False
        self.recovery_action = 0
        self.pcie_generation_cap, self.pcie_width, self.pcie_replays = self.model.pcie_generation, 16, 0
        for link in self.links:
            link.active = True
            link.errors.clear()
        with self._lock:
            self._temperature_override, self._extra_throttle_reasons, self._state = None, 0, None

    def restore(self) -> None:
        """Take away every fault and its traces: the GPU is as it left the factory, but for its temperature."""
        self.reset()
        self.memory_errors.aggregate.clear()
        self.repairs = Repairs()

    def _partitions(self, profiles: tuple[str, ...]) -> tuple[MigInstance, ...]:
        slices = gigabytes = 0
        instances: list[MigInstance] = []
        for index, profile in enumerate(profiles):
            match = _MIG_PROFILE.fullmatch(profile)
            if match is None:
                raise ValueError(f"{profile!r} is no MIG profile: write one such as 1g.10gb")
            slices += int(match["slices"])
            gigabytes += int(match["gigabytes"])
            memory_bytes = (int(match["gigabytes"]) * 1024 - 256) * MEBIBYTE
            identifier = mig_uuid(self.uuid, index, profile)
            instances.append(MigInstance(identifier, profile, index, index + 1, memory_bytes))
        if slices > _MIG_SLICES or gigabytes > self.model.memory_gigabytes:
            raise ValueError(f"{', '.join(profiles)} do not fit one {self.model.name}")
        return tuple(instances)

    def _advance(self, now: float) -> None:
        """Let the time since the last reading pass at the power that was drawn then."""
        seconds = max(0.0, now - self._read_at)
        self._read_at = max(now, self._read_at)
        self._energy_joules += self._power_watts * seconds
        settled = physics.settled_celsius(self.model, self._power_watts)
        self._celsius = physics.warmed_celsius(self._celsius, settled, seconds)

    def _read(self, load: GpuLoad) -> GpuState:
        model = self.model
        utilization = load.utilization_percent
        idle = utilization == 0
        demanded = physics.demanded_watts(model, utilization)
        self._power_watts = min(demanded, self.power_limit_watts)
        celsius = self._celsius if self._temperature_override is None else self._temperature_override
        capped = demanded > self.power_limit_watts
        reasons = self._extra_throttle_reasons | physics.throttle_reasons(
            model, idle=idle, power_capped=capped, celsius=celsius
        )
        share = self.power_limit_watts / demanded if capped else 1.0
        generation = model.pcie_generation_idle if idle else model.pcie_generation
        free_bytes = model.memory_bytes - model.reserved_bytes
        return GpuState(
            load=load,
            memory_used_bytes=min(load.memory_bytes, free_bytes),
            power_watts=self._power_watts,
            energy_joules=self._energy_joules,
            celsius=celsius,
            memory_celsius=physics.memory_celsius(celsius, utilization),
            sm_clock_mhz=physics.sm_clock_mhz(model, idle=idle, reasons=reasons, power_share=share),
            memory_clock_mhz=model.memory_clock_idle_mhz if idle else model.memory_clock_mhz,
            performance_state=model.idle_performance_state if idle else 0,
            throttle_reasons=reasons,
            pcie_generation=min(generation, self.pcie_generation_cap),
        )
