"""What is free, counted for explanations: by GPU model, in all and on the host that has most."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from control_plane.fleet.placement.room import Claim, Host
from control_plane.model.ids import AllocationId, NodeId
from control_plane.model.job import ResourceRequest

_MOST_TYPES = 4  # GPU models named in one sentence


@dataclass(frozen=True, slots=True)
class Count:
    """GPUs that a job could use: how many are free, the most on any one host, which host, and how many hosts have some.

    `there` are those in service, `largest` the most that any one host has.
    """

    free: int = 0
    most: int = 0
    on: str = ""
    hosts: int = 0
    there: int = 0
    largest: int = 0


class Free:
    """The fleet as it is filled, at one moment. Costs a look at every host, so it is made when it is needed."""

    def __init__(self, hosts: Iterable[Host], on_node: Mapping[NodeId, Mapping[AllocationId, Claim]]) -> None:
        self.hosts = tuple(host for host in hosts if host.open)
        self._used: dict[NodeId, Counter[str]] = {}
        for node_id, here in on_node.items():
            used = self._used[node_id] = Counter()
            for claim in here.values():
                for part in claim.placements:
                    if part.node_id == node_id:
                        for uuid in part.gpu_uuids:
                            used[uuid] += claim.resources.gpu_milli or 1000
        self.names = {host.node_id: host.name for host in hosts}
        self._counts: dict[ResourceRequest, Count] = {}

    def count(self, wanted: ResourceRequest) -> Count:
        """Count what a job could use of the GPUs, by its model, memory, profile and labels; CPU is not looked at."""
        known = self._counts.get(wanted)
        if known is None:
            known = self._counts[wanted] = self._count(wanted)
        return known

    def _count(self, wanted: ResourceRequest) -> Count:
        suitable = suits(wanted)
        each = wanted.gpu_milli or 1000
        free = most = hosts = there = largest = 0
        where = ""
        for host in self.hosts:
            if not admits(host, wanted):
                continue
            used = self._used.get(host.node_id, _NOTHING)
            fitting = [slot for slot in host.slots if suitable(slot.gpu_type, slot.memory_bytes, slot.mig_profile)]
            here = sum(1000 - used[slot.uuid] >= each for slot in fitting)
            free += here
            hosts += here > 0
            there += len(fitting)
            largest = max(largest, len(fitting))
            if here > most:
                most, where = here, host.name
        return Count(free, most, where, hosts, there, largest)

    def types(self, wanted: ResourceRequest, *, only_free: bool) -> str:
        """Return the GPU models of hosts that are open, with how many there are or are free, most first."""
        counts: Counter[str] = Counter()
        for host in self.hosts:
            used = self._used.get(host.node_id, _NOTHING)
            for slot in host.slots:
                if slot.mig_profile == wanted.mig_profile and not (only_free and used[slot.uuid]):
                    counts[slot.gpu_type] += 1
        ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_MOST_TYPES]
        return ", ".join(f"{number} {name}" for name, number in ranked)


_NOTHING: Counter[str] = Counter()


def suits(wanted: ResourceRequest) -> Callable[[str, int, str], bool]:
    """Return whether a job could use a GPU or MIG device of such a model, memory and profile."""

    def one(gpu_type: str, memory_bytes: int, mig_profile: str) -> bool:
        return (
            mig_profile == wanted.mig_profile
            and (not wanted.gpu_types or gpu_type in wanted.gpu_types)
            and gpu_type not in wanted.exclude_gpu_types
            and memory_bytes >= wanted.min_gpu_memory_bytes
        )

    return one


def admits(host: Host, wanted: ResourceRequest) -> bool:
    """Return whether labels and left out hosts let a job be on a host."""
    return (
        all(host.labels.get(key) == value for key, value in wanted.node_labels)
        and host.node_id not in wanted.exclude_nodes
        and host.name not in wanted.exclude_nodes
    )
