"""What the host and its GPUs are: read once at the start, and again each minute and after a repair."""

import os
from dataclasses import dataclass
from pathlib import Path

from node_agent.probe import host
from node_agent.probe.nvml_inventory import GpuInventory, MigDevice, NvmlInventory

__all__ = ["GpuInventory", "HostInventory", "MigDevice", "NvmlInventory", "host_inventory"]


@dataclass(frozen=True, slots=True)
class HostInventory:
    """The host and its GPUs, in index order."""

    hostname: str
    machine_id: str | None
    boot_id: str | None
    """Changes with each boot."""
    os: str | None
    kernel: str
    cpu_model: str | None
    cpu_count: int
    """Logical processors."""
    memory_bytes: int | None
    driver_version: str | None
    cuda_driver_version: str | None
    """The newest CUDA that the driver runs, such as `13.0`."""
    nvml_version: str | None
    nvml_error: str | None
    """Why there are no GPUs to list, such as `LIBRARY_NOT_FOUND`; None when NVML is open."""
    virtual: bool
    """Whether the GPUs are virtual."""
    gpus: tuple[GpuInventory, ...]


def host_inventory(found: NvmlInventory, *, root: Path = Path("/")) -> HostInventory:
    """Put together what the driver says and what /proc and /etc below `root` say of the host."""
    return HostInventory(
        hostname=host.hostname(),
        machine_id=host.read_line(root / "etc/machine-id"),
        boot_id=host.read_line(root / "proc/sys/kernel/random/boot_id"),
        os=host.os_name(root),
        kernel=host.kernel(),
        cpu_model=host.cpu_model(root),
        cpu_count=os.cpu_count() or 1,
        memory_bytes=host.memory_bytes(root).get("MemTotal"),
        driver_version=found.driver_version,
        cuda_driver_version=found.cuda_driver_version,
        nvml_version=found.nvml_version,
        nvml_error=found.nvml_error,
        virtual=found.virtual,
        gpus=found.gpus,
    )
