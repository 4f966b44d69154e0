"""How many GPUs there are, and how many a job could get now. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from control_plane.model.ids import NodeId
from control_plane.model.job import WHOLE_GPU_MILLI
from control_plane.model.node import GpuHealth, Node, NodeState
from control_plane.store.gpu_holds import Divisible, Holders, used_milli


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


class Standing(Protocol):
    """What must be known of a host to tell whether it takes jobs."""

    @property
    def id(self) -> NodeId:
        """Its id."""
        ...

    @property
    def state(self) -> NodeState:
        """Its state."""
        ...

    @property
    def connected(self) -> bool:
        """Whether its link is up."""
        ...


class Gpu(Divisible, Protocol):
    """What must be known of a GPU to count it."""

    @property
    def health(self) -> GpuHealth:
        """How its driver finds it."""
        ...


def serves(host: Standing, wellness: Wellness) -> bool:
    """Tell whether a host takes jobs."""
    return host.state is NodeState.READY and host.connected and host.id not in wellness.closed_hosts


def of_node(node: Node, holders: Holders, wellness: Wellness) -> dict[str, Count]:
    """Return the GPUs of one host by model."""
    return of_host(node, node.inventory.gpus if node.inventory is not None else (), holders, wellness)


def of_host(host: Standing, gpus: Iterable[Gpu], holders: Holders, wellness: Wellness) -> dict[str, Count]:
    """Return the GPUs of one host by model, from whatever is known of them."""
    found: dict[str, Count] = {}
    takes_jobs = serves(host, wellness)
    unwell = wellness.gpus.get(host.id, {})
    for gpu in gpus:
        count = found.setdefault(gpu.gpu_type, Count())
        health = {gpu.health, unwell.get(gpu.uuid, GpuHealth.HEALTHY)}
        count.total += 1
        count.unwell += health != {GpuHealth.HEALTHY}
        if held := holders.get(gpu.uuid, ()):
            used = used_milli(gpu, held)
            count.held += 1
            count.partly += used < WHOLE_GPU_MILLI
            count.used_milli += used
        elif takes_jobs and GpuHealth.FAILED not in health:
            count.idle += 1
    return found
