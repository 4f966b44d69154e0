"""One sample of all GPUs in one pass: a fast set of values each time, and a slow one now and then."""

from typing import Any, Final

import pynvml

from node_agent.clock import Clock
from node_agent.probe.gpm import Gpm
from node_agent.probe.nvml import GpuSlot, Nvml, Reader
from node_agent.probe.samples import (
    EccCounts,
    GpuProcess,
    GpuSample,
    NvmlReading,
    PcieLink,
    RecoveryAction,
    RemappedRows,
    RetiredPages,
    ThrottleReason,
)
from node_agent.probe.slow import SlowSet, read_slow_set, with_slow_set

MAXIMUM_PROCESSES: Final = 256
"""The bound on processes reported per GPU."""

# Read in one call, because each NVML call on a real GPU costs a trip to the driver. PCIe throughput is left out on
# purpose: NVML measures it for 20 ms inside the call.
_FIELDS: Final[tuple[int, ...]] = (
    pynvml.NVML_FI_DEV_MEMORY_TEMP,
    pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
    pynvml.NVML_FI_DEV_PCIE_REPLAY_COUNTER,
    pynvml.NVML_FI_DEV_REMAPPED_COR,
    pynvml.NVML_FI_DEV_REMAPPED_UNC,
    pynvml.NVML_FI_DEV_REMAPPED_PENDING,
    pynvml.NVML_FI_DEV_REMAPPED_FAILURE,
    pynvml.NVML_FI_DEV_RETIRED_SBE,
    pynvml.NVML_FI_DEV_RETIRED_DBE,
    pynvml.NVML_FI_DEV_RETIRED_PENDING,
    pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION,
)


SLOW_SECONDS: Final = 10.0
"""How old the slow set may grow: what changes rarely, or costs many calls (see `node_agent.probe.slow`)."""


class Telemetry:
    """Takes samples. Not for use from two threads at once."""

    def __init__(self, nvml: Nvml, clock: Clock, *, slow_seconds: float = SLOW_SECONDS) -> None:
        self._nvml = nvml
        self._clock = clock
        self._slow_seconds = slow_seconds
        self._slow_sets: dict[str, tuple[float, SlowSet]] = {}
        self._gpm = Gpm(clock)

    def read(self, *, fresh: bool = False) -> NvmlReading:
        """Read everything once. A GPU that fails is in the reading with its failures; nothing is raised for it.

        The fast set is read each time, the slow one every `slow_seconds` or, if it must be `fresh`, now.
        While NVML is closed, the GPUs that were known are in the reading with the error `UNINITIALIZED`.
        """
        began = self._clock.monotonic()
        if fresh:
            self._slow_sets.clear()
        gpus = tuple([self._read_gpu(slot, began) for slot in self._nvml.slots()])
        return NvmlReading(
            duration_seconds=self._clock.monotonic() - began,
            nvml_error=None if self._nvml.is_open else "UNINITIALIZED",
            gpus=gpus,
        )

    def forget(self) -> None:
        """Let go of what hangs on NVML being open. To be called before it is closed."""
        self._slow_sets.clear()
        self._gpm.forget()

    def _read_gpu(self, slot: GpuSlot, now: float) -> GpuSample:
        reader = self._nvml.reader(slot)
        sample = _read_fast(reader, slot)
        if reader.gone:
            self._slow_sets.pop(slot.uuid, None)
            return sample
        read_at, slow = self._slow_sets.get(slot.uuid, (0.0, None))
        if slow is None or now - read_at >= self._slow_seconds:
            # What drivers and models refuse here varies too much to be held against a GPU, unless it is gone.
            apart = reader.again()
            slow = read_slow_set(apart, self._gpm)
            self._slow_sets[slot.uuid] = now, slow
            if apart.gone:
                reader.failures.append(apart.failures[-1])
        return with_slow_set(sample, slow, tuple(reader.failures))


def _read_fast(reader: Reader, slot: GpuSlot) -> GpuSample:
    read = reader.read
    fields = reader.read_fields(_FIELDS)
    utilization = read(pynvml.nvmlDeviceGetUtilizationRates)
    memory = read(pynvml.nvmlDeviceGetMemoryInfo)
    energy_millijoules = fields.get(pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION)
    return GpuSample(
        index=slot.index,
        uuid=slot.uuid,
        utilization_percent=None if utilization is None else int(utilization.gpu),
        memory_utilization_percent=None if utilization is None else int(utilization.memory),
        memory_total_bytes=None if memory is None else int(memory.total),
        memory_used_bytes=None if memory is None else int(memory.used),
        power_watts=_thousandth(read(pynvml.nvmlDeviceGetPowerUsage)),
        power_limit_watts=_thousandth(read(pynvml.nvmlDeviceGetEnforcedPowerLimit)),
        energy_joules=_thousandth(energy_millijoules),
        temperature_celsius=read(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
        memory_temperature_celsius=fields.get(pynvml.NVML_FI_DEV_MEMORY_TEMP),
        sm_clock_mhz=read(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM),
        memory_clock_mhz=read(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_MEM),
        performance_state=_performance_state(reader),
        throttle_reasons=_throttle_reasons(reader),
        ecc=_ecc(reader),
        pcie=PcieLink(
            generation=read(pynvml.nvmlDeviceGetCurrPcieLinkGeneration),
            generation_maximum=read(pynvml.nvmlDeviceGetMaxPcieLinkGeneration),
            width=read(pynvml.nvmlDeviceGetCurrPcieLinkWidth),
            width_maximum=read(pynvml.nvmlDeviceGetMaxPcieLinkWidth),
            replays=fields.get(pynvml.NVML_FI_DEV_PCIE_REPLAY_COUNTER),
        ),
        remapped_rows=_remapped_rows(fields),
        retired_pages=_retired_pages(fields),
        recovery_action=_recovery_action(fields),
        processes=_processes(reader),
        failures=tuple(reader.failures),
        # Young enough that drivers refuse it in several ways; without it the slowdown limit tells the margin.
        temperature_margin_celsius=reader.again().read(pynvml.nvmlDeviceGetMarginTemperature),
    )


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1000


def _performance_state(reader: Reader) -> int | None:
    state = reader.read(pynvml.nvmlDeviceGetPerformanceState)
    return None if state is None or state == pynvml.NVML_PSTATE_UNKNOWN else int(state)


def _throttle_reasons(reader: Reader) -> ThrottleReason | None:
    reasons = reader.read(pynvml.nvmlDeviceGetCurrentClocksEventReasons)
    if reasons is None:  # drivers before 535 have it under its former name only
        reasons = reader.read(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    return None if reasons is None else ThrottleReason(reasons)


def _ecc(reader: Reader) -> EccCounts:
    corrected, uncorrected = pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    volatile, aggregate = pynvml.NVML_VOLATILE_ECC, pynvml.NVML_AGGREGATE_ECC
    return EccCounts(
        corrected_volatile=reader.read(pynvml.nvmlDeviceGetTotalEccErrors, corrected, volatile),
        uncorrected_volatile=reader.read(pynvml.nvmlDeviceGetTotalEccErrors, uncorrected, volatile),
        corrected_aggregate=reader.read(pynvml.nvmlDeviceGetTotalEccErrors, corrected, aggregate),
        uncorrected_aggregate=reader.read(pynvml.nvmlDeviceGetTotalEccErrors, uncorrected, aggregate),
    )


def _remapped_rows(fields: dict[int, int]) -> RemappedRows | None:
    correctable = fields.get(pynvml.NVML_FI_DEV_REMAPPED_COR)
    uncorrectable = fields.get(pynvml.NVML_FI_DEV_REMAPPED_UNC)
    if correctable is None or uncorrectable is None:
        return None
    return RemappedRows(
        correctable=correctable,
        uncorrectable=uncorrectable,
        pending=bool(fields.get(pynvml.NVML_FI_DEV_REMAPPED_PENDING)),
        failure=bool(fields.get(pynvml.NVML_FI_DEV_REMAPPED_FAILURE)),
    )


def _retired_pages(fields: dict[int, int]) -> RetiredPages | None:
    single_bit = fields.get(pynvml.NVML_FI_DEV_RETIRED_SBE)
    double_bit = fields.get(pynvml.NVML_FI_DEV_RETIRED_DBE)
    if single_bit is None or double_bit is None:
        return None
    pending = bool(fields.get(pynvml.NVML_FI_DEV_RETIRED_PENDING))
    return RetiredPages(single_bit=single_bit, double_bit=double_bit, pending=pending)


def _recovery_action(fields: dict[int, int]) -> RecoveryAction | None:
    action = fields.get(pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)
    if action is None:
        return None
    try:
        return RecoveryAction(action)
    except ValueError:
        return RecoveryAction.UNKNOWN


def _processes(reader: Reader) -> tuple[GpuProcess, ...] | None:
    entries: Any = reader.read(pynvml.nvmlDeviceGetComputeRunningProcesses)
    if entries is None:
        return None
    # Who draws holds the GPU as well. Asked only where nobody computes; some drivers refuse.
    entries = entries or reader.again().read(pynvml.nvmlDeviceGetGraphicsRunningProcesses) or []
    return tuple(GpuProcess(int(entry.pid), entry.usedGpuMemory) for entry in entries[:MAXIMUM_PROCESSES])
