"""The packing protocol through the class that production places with: hosts, requests and claims instead of arrays."""

from datetime import UTC, datetime
from itertools import count

from control_plane.fleet.placement.history import History
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.packing.model import Node, Task
from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.placement.room import Asked, Claim, GpuSlot, Host
from control_plane.model.ids import AllocationId, JobId, NodeId, UserId
from control_plane.model.job import JobPriority, ResourceRequest

GPU_MEMORY_BYTES = 16_000_000_000  # the trace does not tell; shares take it in proportion
_MIB = 1 << 20
_START = datetime(2023, 1, 1, tzinfo=UTC)
PRODUCTION_POLICIES = {
    "value": PackingPolicy.NODE_VALUE,
    "plain": PackingPolicy.NODE_VALUE,  # production does not rehearse
    "fgd": PackingPolicy.FGD,
    "bestfit": PackingPolicy.BEST_FIT,
    "random": PackingPolicy.RANDOM,
}


def host_of(node: Node, number: int = 0) -> Host:
    """A node of the trace as a host; `number` tells copies of it apart."""
    name = f"{node.name}-{number}" if number else node.name
    slots = tuple(
        GpuSlot(f"GPU-{name}-{index}", index, node.gpu_model, GPU_MEMORY_BYTES) for index in range(node.gpu_count)
    )
    return Host(NodeId(name), name, slots, node.cpu_milli, node.memory_mib * _MIB, {})


def request_of(task: Task) -> ResourceRequest:
    """A task of the trace as a request: all on one node."""
    return ResourceRequest(
        gpu_types=tuple(sorted(task.gpu_models)),
        gpu_count=task.demand.gpu_count,
        node_count=1,
        cpu_milli=task.demand.cpu_milli,
        memory_bytes=task.memory_mib * _MIB,
        gpu_milli=task.demand.gpu_milli if task.demand.shared else 0,
    )


class HostsPlacer:
    """Places tasks on hosts. What it knows of those to come is what has come: each task is noted as it arrives."""

    def __init__(self, nodes: list[Node], policy: str, seed: int) -> None:
        self.history = History()
        self.hosts = Hosts(map(host_of, nodes), policy=PRODUCTION_POLICIES[policy], history=self.history, seed=seed)
        self._numbers = count()

    def place(self, task: Task) -> bool:
        """Whether there was room; it is taken then."""
        request = request_of(task)
        self.history.note(request)
        return self.start(request) is not None

    def start(self, request: ResourceRequest) -> AllocationId | None:
        """Find room and take it; None if there is none."""
        name = str(next(self._numbers))
        asked = Asked(JobId(name), "", request)
        found = self.hosts.find(asked)
        if found is None:
            return None
        claim = Claim(
            AllocationId(name),
            asked.job_id,
            UserId("user"),
            "",
            JobPriority.NORMAL,
            request,
            found.placements,
            _START,
        )
        self.hosts.put(claim)
        return claim.allocation_id
