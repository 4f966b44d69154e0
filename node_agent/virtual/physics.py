"""How a virtual GPU draws power, warms up and clocks: pure functions of its model and its load."""

import math
from typing import Final

import pynvml

from node_agent.virtual.gpu_model import GpuModel

AMBIENT_CELSIUS: Final = 27.0
THERMAL_SECONDS: Final = 18.0
"""Time constant of the first-order thermal model: 63 % of the way to the new temperature in this time."""
_SUSTAINED_SHARE: Final = 0.92
"""A GPU at 100 % utilisation draws this share of the way from idle power to its factory limit."""
_MEMORY_SHARE: Final = 0.6
"""Memory utilisation per unit of GPU utilisation, as in dense training."""


def demanded_watts(model: GpuModel, utilization_percent: float) -> float:
    """Return the power that the load asks for, before any cap."""
    span = (model.power_limit_watts - model.power_idle_watts) * _SUSTAINED_SHARE
    return model.power_idle_watts + span * utilization_percent / 100


def settled_celsius(model: GpuModel, watts: float) -> float:
    """Return the temperature that the GPU reaches in the end at this power."""
    return AMBIENT_CELSIUS + (model.full_load_celsius - AMBIENT_CELSIUS) * watts / model.power_limit_watts


def warmed_celsius(start_celsius: float, settled: float, seconds: float) -> float:
    """Return the temperature after `seconds` on the way from `start_celsius` to `settled`."""
    return settled + (start_celsius - settled) * math.exp(-seconds / THERMAL_SECONDS)


def memory_celsius(celsius: float, utilization_percent: float) -> float:
    """Return the temperature of the memory stacks, which run warmer than the GPU under load."""
    return celsius + 3 + 7 * utilization_percent / 100


def memory_utilization_percent(utilization_percent: int) -> int:
    """Return the share of time in which memory was read or written."""
    return round(utilization_percent * _MEMORY_SHARE)


def throttle_reasons(model: GpuModel, *, idle: bool, power_capped: bool, celsius: float) -> int:
    """Return the NVML clocks-event-reasons bit mask."""
    reasons: int = pynvml.nvmlClocksEventReasonGpuIdle if idle else pynvml.nvmlClocksEventReasonNone
    if power_capped:
        reasons |= pynvml.nvmlClocksEventReasonSwPowerCap
    if celsius >= model.slowdown_celsius:
        reasons |= pynvml.nvmlClocksEventReasonHwSlowdown | pynvml.nvmlClocksEventReasonHwThermalSlowdown
    return reasons


def sm_clock_mhz(model: GpuModel, *, idle: bool, reasons: int, power_share: float) -> int:
    """Return the SM clock: low when idle, halved by a hardware slowdown, lowered by a power cap."""
    if idle:
        return model.sm_clock_idle_mhz
    clock = model.sm_clock_mhz * min(1.0, power_share)
    if reasons & pynvml.nvmlClocksEventReasonHwSlowdown:
        clock /= 2
    return max(model.sm_clock_idle_mhz, round(clock / 15) * 15)  # NVIDIA clocks step by 15 MHz
