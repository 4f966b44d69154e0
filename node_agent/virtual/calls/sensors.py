"""Functions that read memory, utilisation, power, temperature, clocks, the PCIe link and processes."""

from collections.abc import Sequence
from typing import Any, Final

import pynvml

from node_agent.virtual.calls.table import (
    INSUFFICIENT_SIZE,
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    CallTable,
    put,
    target_of,
    value_of,
)
from node_agent.virtual.device import VirtualGpu
from node_agent.virtual.physics import memory_utilization_percent

SENSOR_CALLS: Final = CallTable()
_VIDEO_SHARE: Final = 0.78
_NO_INSTANCE: Final = 0xFFFFFFFF
"""What NVML says in place of a MIG instance id for a process on a whole GPU."""


@SENSOR_CALLS.named("nvmlDeviceGetMemoryInfo")
def _memory_info(gpu: VirtualGpu, info: Any) -> int:
    memory = target_of(info)
    memory.total = gpu.model.memory_bytes
    memory.used = gpu.state().memory_used_bytes + gpu.model.reserved_bytes  # version 1 counts the reserve as used
    memory.free = memory.total - memory.used
    return SUCCESS


@SENSOR_CALLS.named("nvmlDeviceGetMemoryInfo_v2")
def _memory_info_v2(gpu: VirtualGpu, info: Any) -> int:
    memory = target_of(info)
    if memory.version != pynvml.nvmlMemory_v2:
        return int(pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
    memory.total = gpu.model.memory_bytes
    memory.reserved = gpu.model.reserved_bytes
    memory.used = gpu.state().memory_used_bytes
    memory.free = memory.total - memory.reserved - memory.used
    return SUCCESS


@SENSOR_CALLS.named("nvmlDeviceGetBAR1MemoryInfo")
def _bar1_memory_info(gpu: VirtualGpu, info: Any) -> int:
    memory = target_of(info)
    memory.bar1Total = 1 << (gpu.model.memory_bytes - 1).bit_length()
    memory.bar1Used = 2 * 1024 * 1024
    memory.bar1Free = memory.bar1Total - memory.bar1Used
    return SUCCESS


@SENSOR_CALLS.named("nvmlDeviceGetUtilizationRates")
def _utilization(gpu: VirtualGpu, rates: Any) -> int:
    if gpu.mig is not None:
        return NOT_SUPPORTED
    utilization = target_of(rates)
    utilization.gpu = gpu.state().load.utilization_percent
    utilization.memory = memory_utilization_percent(utilization.gpu)
    return SUCCESS


@SENSOR_CALLS.named("nvmlDeviceGetPowerUsage")
def _power_usage(gpu: VirtualGpu, milliwatts: Any) -> int:
    return put(milliwatts, round(gpu.state().power_watts * 1000))


@SENSOR_CALLS.named("nvmlDeviceGetTotalEnergyConsumption")
def _energy(gpu: VirtualGpu, millijoules: Any) -> int:
    return put(millijoules, round(gpu.state().energy_joules * 1000))


@SENSOR_CALLS.named("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit")
def _power_limit(gpu: VirtualGpu, milliwatts: Any) -> int:
    return put(milliwatts, round(gpu.power_limit_watts * 1000))


@SENSOR_CALLS.named("nvmlDeviceGetPowerManagementDefaultLimit")
def _default_power_limit(gpu: VirtualGpu, milliwatts: Any) -> int:
    return put(milliwatts, gpu.model.power_limit_watts * 1000)


@SENSOR_CALLS.named("nvmlDeviceGetPowerManagementLimitConstraints")
def _power_limit_constraints(gpu: VirtualGpu, least: Any, most: Any) -> int:
    put(least, gpu.model.power_minimum_watts * 1000)
    return put(most, gpu.model.power_limit_watts * 1000)


@SENSOR_CALLS.named("nvmlDeviceGetTemperature")
def _temperature(gpu: VirtualGpu, sensor: Any, celsius: Any) -> int:
    if value_of(sensor) != pynvml.NVML_TEMPERATURE_GPU:
        return INVALID_ARGUMENT
    return put(celsius, round(gpu.state().celsius))


@SENSOR_CALLS.named("nvmlDeviceGetTemperatureV")
def _temperature_v(gpu: VirtualGpu, info: Any) -> int:
    temperature = target_of(info)
    if temperature.version != pynvml.nvmlTemperature_v1:
        return int(pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
    if temperature.sensorType != pynvml.NVML_TEMPERATURE_GPU:
        return INVALID_ARGUMENT
    temperature.temperature = round(gpu.state().celsius)
    return SUCCESS


@SENSOR_CALLS.named("nvmlDeviceGetTemperatureThreshold")
def _temperature_threshold(gpu: VirtualGpu, threshold: Any, celsius: Any) -> int:
    kind = value_of(threshold)
    if kind == pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN:
        return put(celsius, gpu.model.shutdown_celsius)
    if kind == pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN:
        return put(celsius, gpu.model.slowdown_celsius)
    return NOT_SUPPORTED if 0 <= kind < pynvml.NVML_TEMPERATURE_THRESHOLD_COUNT else INVALID_ARGUMENT


@SENSOR_CALLS.named("nvmlDeviceGetMarginTemperature")
def _margin_temperature(gpu: VirtualGpu, info: Any) -> int:
    margin = target_of(info)
    if margin.version != pynvml.nvmlMarginTemperature_v1:
        return int(pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
    margin.marginTemperature = round(gpu.model.slowdown_celsius - gpu.state().celsius)
    return SUCCESS


@SENSOR_CALLS.named("nvmlDeviceGetClockInfo")
def _clock(gpu: VirtualGpu, kind: Any, megahertz: Any) -> int:
    state = gpu.state()
    return _put_clock(value_of(kind), megahertz, state.sm_clock_mhz, state.memory_clock_mhz)


@SENSOR_CALLS.named("nvmlDeviceGetMaxClockInfo")
def _max_clock(gpu: VirtualGpu, kind: Any, megahertz: Any) -> int:
    return _put_clock(value_of(kind), megahertz, gpu.model.sm_clock_mhz, gpu.model.memory_clock_mhz)


def _put_clock(kind: int, megahertz: Any, sm_clock: int, memory_clock: int) -> int:
    if kind in (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_GRAPHICS):
        return put(megahertz, sm_clock)
    if kind == pynvml.NVML_CLOCK_MEM:
        return put(megahertz, memory_clock)
    if kind == pynvml.NVML_CLOCK_VIDEO:
        return put(megahertz, round(sm_clock * _VIDEO_SHARE))
    return INVALID_ARGUMENT


@SENSOR_CALLS.named("nvmlDeviceGetPerformanceState")
def _performance_state(gpu: VirtualGpu, state: Any) -> int:
    return put(state, gpu.state().performance_state)


@SENSOR_CALLS.named("nvmlDeviceGetCurrPcieLinkGeneration")
def _pcie_generation(gpu: VirtualGpu, generation: Any) -> int:
    return put(generation, gpu.state().pcie_generation)


@SENSOR_CALLS.named("nvmlDeviceGetMaxPcieLinkGeneration")
def _max_pcie_generation(gpu: VirtualGpu, generation: Any) -> int:
    return put(generation, gpu.model.pcie_generation)


@SENSOR_CALLS.named("nvmlDeviceGetCurrPcieLinkWidth")
def _pcie_width(gpu: VirtualGpu, width: Any) -> int:
    return put(width, gpu.pcie_width)


@SENSOR_CALLS.named("nvmlDeviceGetMaxPcieLinkWidth")
def _max_pcie_width(_gpu: VirtualGpu, width: Any) -> int:
    return put(width, 16)


@SENSOR_CALLS.named("nvmlDeviceGetPcieReplayCounter")
def _pcie_replays(gpu: VirtualGpu, replays: Any) -> int:
    return put(replays, gpu.pcie_replays)


@SENSOR_CALLS.named("nvmlDeviceGetComputeRunningProcesses_v3")
def _processes(gpu: VirtualGpu, count: Any, entries: Any) -> int:
    state = gpu.state()
    return _put_processes(state.load.process_ids, state.memory_used_bytes, count, entries)


def _put_processes(pids: Sequence[int], memory_bytes: int, count: Any, entries: Any) -> int:
    room = value_of(target_of(count))
    put(count, len(pids))
    if not pids:
        return SUCCESS
    if entries is None or room < len(pids):
        return INSUFFICIENT_SIZE
    for entry, pid in zip(entries, pids, strict=False):
        entry.pid = pid
        entry.usedGpuMemory = memory_bytes // len(pids)
        entry.gpuInstanceId = entry.computeInstanceId = _NO_INSTANCE
    return SUCCESS


@SENSOR_CALLS.named("nvmlDeviceGetGraphicsRunningProcesses_v3")
def _graphics_processes(gpu: VirtualGpu, count: Any, entries: Any) -> int:
    return _put_processes(gpu.graphics_process_ids, gpu.state().memory_used_bytes, count, entries)
