"""What of a host jobs can hold: its GPUs that serve, or the MIG devices of those that are divided."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from control_plane.fleet.placement.room import GpuSlot
from control_plane.model.node import GpuHealth, GpuInventory, HostInventory

SHARES: Final = "gpu_share"
"""The limit that a host names which holds jobs to their parts of GPUs."""

_ALL_WELL: Final[Mapping[str, GpuHealth]] = MappingProxyType({})


def slots(inventory: HostInventory, unwell: Mapping[str, GpuHealth] = _ALL_WELL) -> tuple[GpuSlot, ...]:
    """Return what jobs can hold, in index order. `unwell` is what conditions say about GPUs, by UUID.

    A GPU in MIG mode offers its devices and not itself; one that is failed offers nothing.
    """
    serving = [gpu for gpu in inventory.gpus if GpuHealth.FAILED not in (gpu.health, unwell.get(gpu.uuid))]
    islands = _islands(serving)
    found: list[GpuSlot] = []
    for gpu in sorted(serving, key=lambda one: one.index):
        island = islands[gpu.uuid]
        if gpu.mig_enabled:
            found += [
                GpuSlot(device.uuid, gpu.index, gpu.gpu_type, device.memory_bytes, island, device.profile)
                for device in gpu.mig_devices
            ]
        else:
            found.append(GpuSlot(gpu.uuid, gpu.index, gpu.gpu_type, gpu.memory_bytes, island))
    return tuple(found)


def parents(inventory: HostInventory) -> dict[str, str]:
    """Return, by MIG device, the GPU that it is on."""
    return {device.uuid: gpu.uuid for gpu in inventory.gpus for device in gpu.mig_devices}


def can_share(inventory: HostInventory) -> bool:
    """Tell whether jobs can have parts of the host's GPUs; an engine of a site gives whole ones."""
    return not inventory.executor


def enforces_shares(inventory: HostInventory) -> bool:
    """Tell whether the host holds jobs to their parts; where it does not, parts are counted and that is all."""
    return SHARES in inventory.enforceable_limits


def _islands(gpus: list[GpuInventory]) -> dict[str, int]:
    """Return a number for each GPU: those with the same number reach each other over NVLink, directly or not."""
    neighbours: dict[str, set[str]] = {gpu.uuid: set() for gpu in gpus}
    for gpu in gpus:
        for peer in gpu.nvlink_peer_uuids:
            if peer in neighbours:
                neighbours[gpu.uuid].add(peer)
                neighbours[peer].add(gpu.uuid)
    found: dict[str, int] = {}
    for number, gpu in enumerate(sorted(gpus, key=lambda one: one.index)):
        waiting = [] if gpu.uuid in found else [gpu.uuid]
        while waiting:
            uuid = waiting.pop()
            if uuid not in found:
                found[uuid] = number
                waiting.extend(neighbours[uuid])
    return found
