"""The host's GPUs as health and repairs see them."""

import json
import os
from collections.abc import Collection, Sequence
from typing import Final

from node_agent.hardware import Hardware
from node_agent.health.model import GpuIdentity
from node_agent.probe.inventory import GpuInventory
from node_agent.probe.kernel.pci import normalise_pci_bus_id
from node_agent.repair.ports import GpuReading, NvlinkReading, Reading, RepairGpu
from node_agent.spool.spool import Spool
from node_agent.virtual.fault import VirtualRepair

_BOOTS: Final = "virtual_boots"  # name of the spool's state


def gpu_identities(hardware: Hardware) -> list[GpuIdentity]:
    """Return the GPUs that have a UUID, those that were lost too."""
    driver = hardware.found.driver_version or ""
    return [_identity(gpu, driver) for gpu in hardware.found.gpus if gpu.uuid]


def _identity(gpu: GpuInventory, driver_version: str) -> GpuIdentity:
    return GpuIdentity(
        uuid=gpu.uuid,
        index=gpu.index,
        pci_bus_id=normalise_pci_bus_id(gpu.pci_bus_id or ""),
        gpu_type=gpu.model,
        serial=gpu.serial or "",
        driver_version=driver_version,
    )


class BootIds:
    """The id of this boot. Virtual GPUs can be rebooted without their host, and remember it."""

    def __init__(self, spool: Spool, real: str) -> None:
        self._spool = spool
        self._real = real
        try:
            value = json.loads(spool.state(_BOOTS) or b"{}")
            self._count = int(value["count"]) if value.get("boot_id") == real else 0
        except (ValueError, KeyError, TypeError, AttributeError):
            self._count = 0

    @property
    def now(self) -> str:
        """The id of the boot that the GPUs see."""
        return f"{self._real}+{self._count}" if self._count else self._real

    def next(self) -> str:
        """Count a reboot of virtual GPUs, and return the id of the boot that follows."""
        self._count += 1
        self._spool.save(_BOOTS, json.dumps({"boot_id": self._real, "count": self._count}).encode())
        return self.now


class _Virtual:
    """Implements the repair engine's `VirtualGpus`."""

    def __init__(self, hardware: Hardware, boots: BootIds) -> None:
        self._hardware = hardware
        self._boots = boots

    async def reset(self, gpu_uuids: Collection[str]) -> str:
        """Reset GPUs."""
        return await self._hardware.reset_virtual(gpu_uuids)

    async def reload_driver(self) -> str:
        """Do what unloading and loading the driver does."""
        return await self._hardware.reset_virtual(repair=VirtualRepair.DRIVER_RELOAD)

    async def restart_service(self, service: str) -> str:
        """Do what restarting a service does: virtual GPUs need none."""
        return f"virtual GPUs do not need {service}"

    async def reboot(self) -> str:
        """Do what a reboot does to the GPUs, and return the id of the boot that follows."""
        await self._hardware.reset_virtual(repair=VirtualRepair.REBOOT)
        return self._boots.next()


class GpuControl:
    """Implements the repair engine's `HardwareControl`."""

    def __init__(self, hardware: Hardware, boots: BootIds) -> None:
        self._hardware = hardware
        self._virtual = _Virtual(hardware, boots) if hardware.virtual else None

    @property
    def virtual(self) -> _Virtual | None:
        """The virtual GPUs; None on a host with real ones or without any."""
        return self._virtual

    def gpus(self) -> Sequence[RepairGpu]:
        """Return the host's GPUs by index, those that were lost too."""
        driver = self._hardware.found.driver_version or ""
        return [
            RepairGpu(
                identity=_identity(gpu, driver),
                minor_number=gpu.minor_number,
                nvlink_peers=frozenset(gpu.nvlink_peers),
                compute_capability=gpu.compute_capability,
            )
            for gpu in self._hardware.found.gpus
            if gpu.uuid
        ]

    def own_process_ids(self) -> frozenset[int]:
        """Return the daemon's own processes."""
        return self._hardware.process_ids | {os.getpid()}

    async def release(self) -> None:
        """Let go of every handle of the daemon's own probe."""
        await self._hardware.release_gpus()

    async def reacquire(self) -> None:
        """Start probing again."""
        await self._hardware.reacquire()

    async def read(self) -> Reading:
        """Read all GPUs afresh, now."""
        found = await self._hardware.read(fresh=True)
        return Reading(
            nvml_error=found.nvml_error,
            gpus={
                sample.uuid: GpuReading(
                    sample=sample,
                    nvlinks=None
                    if sample.nvlinks is None
                    else tuple(NvlinkReading(link.link, link.active, link.errors) for link in sample.nvlinks),
                )
                for sample in found.gpus
                if sample.uuid
            },
        )
