"""What telemetry says of one GPU: heat, power, memory, the PCIe link."""

from datetime import datetime
from typing import Final

from node_agent.health.host import MAXIMUM_GPUS, Host
from node_agent.health.model import Change, Rung, Severity, Source
from node_agent.health.rules import Hold
from node_agent.health.states import Place, State, States
from node_agent.health.windows import Growth, Recent
from node_agent.probe.samples import GpuSample, ThrottleReason

_HOT: Final = ThrottleReason.HW_THERMAL_SLOWDOWN | ThrottleReason.SW_THERMAL_SLOWDOWN | ThrottleReason.HW_SLOWDOWN
_BRAKE: Final = int(ThrottleReason.HW_POWER_BRAKE_SLOWDOWN)
_HOT_BITS: Final = int(_HOT)
_HW_SLOWDOWN: Final = int(ThrottleReason.HW_SLOWDOWN)

THERMAL: Final = State("thermal", "THERMAL", Severity.WARNING, "The GPU slows itself down because it is too hot")
POWER_BRAKE: Final = State("power-brake", "POWER_BRAKE", Severity.WARNING, "The power supply makes the GPU slow down")
REMAP_PENDING: Final = State(
    "row-remap-pending",
    "ROW_REMAP_PENDING",
    Severity.WARNING,
    "Rows of memory wait for a reset to be remapped",
    Rung.RESET_GPU,
)
REMAP_FAILED: Final = State(
    "row-remap-failed",
    "ROW_REMAP_FAILED",
    Severity.FATAL,
    "A row of memory could not be remapped: the GPU must be replaced",
    Rung.QUARANTINE,
    sticky=True,
    cured_by_boot=False,
)
SPARES: Final = State("row-spares", "ROW_SPARES_GONE", Severity.WARNING, "A memory bank has no spare row left")
PAGES_PENDING: Final = State(
    "retired-pages-pending",
    "RETIRED_PAGES_PENDING",
    Severity.WARNING,
    "Pages of memory wait for a reset to be retired",
    Rung.RESET_GPU,
)
ECC_CORRECTED: Final = State(
    "ecc-corrected", "ECC_CORRECTED_RATE", Severity.WARNING, "Memory errors are corrected at a high rate"
)
PCIE_WIDTH: Final = State("pcie-width", "PCIE_DEGRADED", Severity.WARNING, "The PCIe link has lost lanes")
PCIE_GENERATION: Final = State(
    "pcie-generation", "PCIE_DEGRADED", Severity.WARNING, "The PCIe link stays at a lower generation under load"
)
PCIE_REPLAYS: Final = State("pcie-replays", "PCIE_REPLAYS", Severity.WARNING, "The PCIe link repeats many packets")
MEMORY_HELD: Final = State("memory-held", "MEMORY_HELD", Severity.INFO, "Memory is in use, and no process is")


class GpuStates:
    """Judges the samples of GPUs that can be read."""

    def __init__(self, host: Host, states: States) -> None:
        self._host = host
        self._states = states
        self._replays: Recent[str, Growth] = Recent(MAXIMUM_GPUS)
        self._corrected: Recent[str, Growth] = Recent(MAXIMUM_GPUS)

    def read(self, place: Place, sample: GpuSample, at: datetime, now: float) -> list[Change]:
        """Judge one sample."""
        return (
            self._throttling(place, sample, at, now)
            + self._memory(place, sample, at, now)
            + self._pcie(place, sample, at, now)
            + self._held(place, sample, at, now)
        )

    def _state(
        self, place: Place, state: State, hold: Hold, *, bad: bool, text: str, at: datetime, now: float
    ) -> list[Change]:
        return self._states.read(place, state, hold, bad=bad, text=text, source=Source.NVML, at=at, now=now)

    def _throttling(self, place: Place, sample: GpuSample, at: datetime, now: float) -> list[Change]:
        if sample.throttle_reasons is None:
            return []
        reasons, rules = int(sample.throttle_reasons), self._host.rules
        brake = bool(reasons & _BRAKE)
        margin = sample.temperature_margin_celsius
        # The general bit of hardware slowdown comes with the brake as well as with heat.
        hot = bool(reasons & (_HOT_BITS & ~_HW_SLOWDOWN if brake else _HOT_BITS)) or (
            margin is not None and margin <= 0
        )
        text = (
            f"{sample.temperature_celsius} C, margin {margin} C, clock event reasons {reasons:#x}"
            if hot or brake
            else ""
        )
        return self._state(place, THERMAL, rules.thermal, bad=hot, text=text, at=at, now=now) + self._state(
            place, POWER_BRAKE, rules.power_brake, bad=brake, text=text, at=at, now=now
        )

    def _memory(self, place: Place, sample: GpuSample, at: datetime, now: float) -> list[Change]:
        changes: list[Change] = []
        hold = self._host.rules.row_remap
        if (rows := sample.remapped_rows) is not None:
            text = (
                f"{rows.correctable} rows remapped for corrected errors, {rows.uncorrectable} for uncorrected ones"
                if rows.pending or rows.failure
                else ""
            )
            changes += self._state(place, REMAP_PENDING, hold, bad=rows.pending, text=text, at=at, now=now)
            changes += self._state(place, REMAP_FAILED, hold, bad=rows.failure, text=text, at=at, now=now)
        if (spares := sample.bank_spares) is not None:
            text = f"{spares.none} banks have no spare row" if spares.none else ""
            changes += self._state(place, SPARES, hold, bad=spares.none > 0, text=text, at=at, now=now)
        if (pages := sample.retired_pages) is not None:
            text = (
                f"{pages.single_bit} pages retired for single-bit errors, {pages.double_bit} for double-bit ones"
                if pages.pending
                else ""
            )
            changes += self._state(place, PAGES_PENDING, hold, bad=pages.pending, text=text, at=at, now=now)
        if (corrected := sample.ecc.corrected_volatile) is not None:
            rules = self._host.rules
            growth = self._growth(self._corrected, place.gpu_uuid).add(corrected, now, rules.rate_window_seconds)
            bad = growth >= rules.ecc_corrected_per_window
            text = f"{growth} corrected errors within {rules.rate_window_seconds / 60:.0f} minutes" if bad else ""
            changes += self._state(place, ECC_CORRECTED, rules.ecc_corrected, bad=bad, text=text, at=at, now=now)
        return changes

    def _pcie(self, place: Place, sample: GpuSample, at: datetime, now: float) -> list[Change]:
        pcie, rules = sample.pcie, self._host.rules
        changes: list[Change] = []
        # An idle GPU lowers its link to save power: such a reading says nothing, neither good nor bad.
        if sample.utilization_percent is not None and sample.utilization_percent >= rules.pcie_busy_percent:
            for state, value, best in (
                (PCIE_WIDTH, pcie.width, pcie.width_maximum),
                (PCIE_GENERATION, pcie.generation, pcie.generation_maximum),
            ):
                if value and best:
                    bad = value < best
                    text = f"{value} of {best} at {sample.utilization_percent} % load" if bad else ""
                    changes += self._state(place, state, rules.pcie_degraded, bad=bad, text=text, at=at, now=now)
        if pcie.replays is not None:
            growth = self._growth(self._replays, place.gpu_uuid).add(pcie.replays, now, 60.0)
            bad = growth > rules.pcie_replays_per_minute
            text = f"{growth} replays within a minute" if bad else ""
            changes += self._state(place, PCIE_REPLAYS, rules.pcie_replays, bad=bad, text=text, at=at, now=now)
        return changes

    def _held(self, place: Place, sample: GpuSample, at: datetime, now: float) -> list[Change]:
        if sample.memory_used_bytes is None or sample.processes is None:
            return []
        idle = not sample.processes and place.gpu_uuid not in self._host.holders
        bad = idle and sample.memory_used_bytes >= self._host.rules.memory_held_bytes
        text = f"{sample.memory_used_bytes >> 20} MiB in use without a process" if bad else ""
        return self._state(place, MEMORY_HELD, self._host.rules.memory_held, bad=bad, text=text, at=at, now=now)

    def _growth(self, counters: Recent[str, Growth], uuid: str) -> Growth:
        return counters.get(uuid) or counters.set(uuid, Growth())
