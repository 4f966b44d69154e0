"""What tells one GPU model from others."""

from dataclasses import dataclass
from enum import Enum


class Wiring(Enum):
    """How the NVLinks of a model leave the GPU."""

    NONE = "none"
    SWITCH = "switch"
    """Every link goes to an NVSwitch, so all GPUs of the host reach each other."""
    CUBE_MESH = "cube_mesh"
    """Links go straight to other GPUs, as in a DGX-1."""


class PageRepair(Enum):
    """How a model puts bad memory aside."""

    ROW_REMAP = "row_remap"
    PAGE_RETIREMENT = "page_retirement"


@dataclass(frozen=True, slots=True)
class GpuModel:
    """The figures of one GPU model; clocks in MHz, temperatures in degrees Celsius."""

    key: str
    name: str
    memory_bytes: int
    reserved_bytes: int
    compute_capability: tuple[int, int]
    architecture: int
    pci_device_id: int
    pci_subsystem_id: int
    power_limit_watts: int
    power_minimum_watts: int
    power_idle_watts: int
    sm_clock_idle_mhz: int
    sm_clock_mhz: int
    memory_clock_idle_mhz: int
    memory_clock_mhz: int
    pcie_generation: int
    pcie_generation_idle: int
    full_load_celsius: int
    slowdown_celsius: int
    shutdown_celsius: int
    idle_performance_state: int
    wiring: Wiring
    nvlink_count: int
    nvlink_version: int
    mig: bool
    memory_temperature: bool
    page_repair: PageRepair

    @property
    def memory_gigabytes(self) -> int:
        """The size that the model is sold under, such as 80, from the bytes that it reports."""
        return round(self.memory_bytes / 1024**3)
