"""What the scheduler decides on."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from control_plane.model.ids import JobId, NodeId, UserId
from control_plane.model.job import Job, JobState
from control_plane.model.node import GpuHealth, Node

_ALL_WELL: Final[Mapping[str, GpuHealth]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FreeGpu:
    """A GPU that a job could get now."""

    uuid: str
    gpu_type: str
    memory_bytes: int
    index: int


@dataclass(frozen=True, slots=True)
class HostView:
    """A ready host: its free GPUs in index order, its size by GPU model, and what CPU and memory is not promised."""

    node_id: NodeId
    name: str
    free_gpus: tuple[FreeGpu, ...]
    total_by_type: Mapping[str, int]
    free_cpu_milli: int
    free_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Queue and hosts at one moment. `queue` is in the order in which jobs are to be served."""

    queue: tuple[Job, ...]
    hosts: tuple[HostView, ...]
    dependency_states: Mapping[JobId, JobState]
    gpus_held: Mapping[UserId, int]
    max_gpus: Mapping[UserId, int]


def host_view(
    node: Node,
    held: frozenset[str],
    *,
    promised_cpu_milli: int,
    promised_memory_bytes: int,
    unwell: Mapping[str, GpuHealth] = _ALL_WELL,
) -> HostView:
    """Return the scheduler's view of a ready node. `unwell` is what conditions say about its GPUs."""
    inventory = node.inventory
    if inventory is None:
        return HostView(node.id, node.name, (), {}, 0, 0)
    serving = [gpu for gpu in inventory.gpus if GpuHealth.FAILED not in (gpu.health, unwell.get(gpu.uuid))]
    totals: dict[str, int] = {}
    for gpu in serving:
        totals[gpu.gpu_type] = totals.get(gpu.gpu_type, 0) + 1
    free = tuple(
        FreeGpu(gpu.uuid, gpu.gpu_type, gpu.memory_bytes, gpu.index)
        for gpu in sorted(serving, key=lambda gpu: gpu.index)
        if gpu.uuid not in held
    )
    return HostView(
        node_id=node.id,
        name=node.name,
        free_gpus=free,
        total_by_type=totals,
        free_cpu_milli=inventory.cpu_count * 1000 - promised_cpu_milli,
        free_memory_bytes=inventory.memory_bytes - promised_memory_bytes,
    )
