"""What the fleet has for jobs that are run again: GPUs with their memory, and the largest host."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from control_plane.fleet.remedies_memory import HostGpus
from control_plane.model.job import Job
from control_plane.model.node import GpuHealth, NodeState
from control_plane.store import nodes
from control_plane.store.database import Tx


@dataclass(frozen=True, slots=True)
class Means:
    """What hosts in service have; `gpu_memory_bytes` is of the GPUs that the goal's jobs had, by UUID."""

    hosts: tuple[HostGpus, ...] = ()
    host_memory_bytes: int = 0
    gpu_memory_bytes: Mapping[str, int] = field(default_factory=dict)


def load_means(tx: Tx, jobs: Iterable[Job]) -> Means:
    """Return what the fleet has for these jobs now."""
    held = {gpu for job in jobs for one in job.allocations for member in one.members for gpu in member.gpu_uuids}
    found: list[HostGpus] = []
    memory: dict[str, int] = {}
    largest = 0
    for node in nodes.active(tx):
        if node.inventory is None:
            continue
        memory |= {gpu.uuid: gpu.memory_bytes for gpu in node.inventory.gpus if gpu.uuid in held}
        if node.state is not NodeState.READY:
            continue
        largest = max(largest, node.inventory.memory_bytes)
        kinds = Counter(
            (gpu.gpu_type, gpu.memory_bytes) for gpu in node.inventory.gpus if gpu.health is not GpuHealth.FAILED
        )
        labels = tuple(sorted(node.labels.items()))
        found += [
            HostGpus(gpu_type, size, count, node.inventory.memory_bytes, (node.name, node.id), labels)
            for (gpu_type, size), count in sorted(kinds.items())
        ]
    return Means(tuple(found), largest, memory)
