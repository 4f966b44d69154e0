"""How many GPUs there are, and how many a job could get now. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from control_plane.model.ids import NodeId
from control_plane.model.job import WHOLE_GPU_MILLI
from control_plane.model.node import GpuHealth, Node, NodeState
from control_plane.store.gpu_holds import Holders, used_milli


@dataclass(frozen=True, slots=True)
class Wellness:
    """Which GPUs and hosts conditions keep from taking jobs."""

    gpus: Mapping[NodeId, Mapping[str, GpuHealth]]
    closed_hosts: Collection[NodeId]


@dataclass(slots=True)
class Count:
    """GPUs of one model: of `held` a job has something, `idle` could take one now, `unwell` are degraded or failed.

    Of `partly` of those held, a part is free. `used_milli` is how much of all is held, in thousandths of a GPU.
    """

    total: int = 0
    held: int = 0
    idle: int = 0
    unwell: int = 0
    partly: int = 0
    used_milli: int = 0

    @property
    def used(self) -> float:
        """GPUs in use; parts count as parts, MIG devices by their compute slices."""
        return self.used_milli / WHOLE_GPU_MILLI

    def add(self, other: "Count") -> None:
        """Add the GPUs of another host."""
        self.total += other.total
        self.held += other.held
        self.idle += other.idle
        self.unwell += other.unwell
        self.partly += other.partly
        self.used_milli += other.used_milli


def of_node(node: Node, holders: Holders, wellness: Wellness) -> dict[str, Count]:
    """Return the GPUs of one host by model."""
    found: dict[str, Count] = {}
    serves = node.state is NodeState.READY and node.connected and node.id not in wellness.closed_hosts
    unwell = wellness.gpus.get(node.id, {})
    for gpu in node.inventory.gpus if node.inventory is not None else ():
        count = found.setdefault(gpu.gpu_type, Count())
        health = {gpu.health, unwell.get(gpu.uuid, GpuHealth.HEALTHY)}
        count.total += 1
        count.unwell += health != {GpuHealth.HEALTHY}
        if held := holders.get(gpu.uuid, ()):
            used = used_milli(gpu, held)
            count.held += 1
            count.partly += used < WHOLE_GPU_MILLI
            count.used_milli += used
        elif serves and GpuHealth.FAILED not in health:
            count.idle += 1
    return found


def of_fleet(nodes: Iterable[Node], holders: Holders, wellness: Wellness) -> dict[str, Count]:
    """Return the GPUs of all hosts that are not lost or revoked, by model."""
    found: dict[str, Count] = {}
    for node in nodes:
        if node.state in (NodeState.LOST, NodeState.REVOKED):
            continue
        for gpu_type, count in of_node(node, holders, wellness).items():
            found.setdefault(gpu_type, Count()).add(count)
    return found
