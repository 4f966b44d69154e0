"""A small exact room: lists, no caches, and a job fits in it if and only if there is any way to place it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from control_plane.fleet.placement.packing.state import OverCommitError
from control_plane.fleet.placement.room import Asked, Claim, Found, GpuSlot, Host, Lack, Missing
from control_plane.fleet.queueing.model import WaitingJob
from control_plane.model.action import Placement
from control_plane.model.ids import AllocationId, JobId, NodeId, UserId
from control_plane.model.job import JobPriority, ResourceRequest

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
GB = 10**9


class ListRoom:
    """Hosts and claims. All ranks of a job are alike, so counting hosts that can hold one is exact."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self.hosts = {host.node_id: host for host in hosts}
        self._claims: dict[AllocationId, Claim] = {}

    def find(self, asked: Asked) -> Found | None:
        return self._find(asked, self._claims.values())

    def put(self, claim: Claim) -> None:
        for part in claim.placements:
            if any(
                self._free_milli(part.node_id, uuid) < (claim.resources.gpu_milli or 1000) for uuid in part.gpu_uuids
            ):
                raise OverCommitError(f"{claim.allocation_id} does not fit on {part.node_id}")
            host = self.hosts[part.node_id]
            here = [one.resources for one in self._on(part.node_id, self._claims.values())]
            if (
                sum(one.cpu_milli for one in here) + claim.resources.cpu_milli > host.cpu_milli
                or sum(one.memory_bytes for one in here) + claim.resources.memory_bytes > host.memory_bytes
            ):
                raise OverCommitError(f"{claim.allocation_id} does not fit on {part.node_id}")
        self._claims[claim.allocation_id] = claim

    def drop(self, allocation_id: AllocationId) -> None:
        self._claims.pop(allocation_id, None)

    def claims(self) -> Mapping[AllocationId, Claim]:
        return self._claims

    @contextmanager
    def without(self, allocation_ids: Iterable[AllocationId]) -> Iterator[None]:
        away = [self._claims.pop(one) for one in allocation_ids if one in self._claims]
        try:
            yield
        finally:
            for claim in away:
                self.put(claim)

    def could_ever(self, asked: Asked) -> bool:
        return self._find(asked, ()) is not None

    def missing(self, asked: Asked) -> Missing:
        if self.find(asked) is not None:
            return Missing(Lack.NOTHING, "room")
        return Missing(Lack.IN_USE if self.could_ever(asked) else Lack.NEVER, "no room")

    def _find(self, asked: Asked, claims: Iterable[Claim]) -> Found | None:
        held, request = list(claims), asked.resources
        types = request.gpu_types or sorted({slot.gpu_type for host in self.hosts.values() for slot in host.slots})
        for gpu_type in types if request.gpu_count or request.gpu_milli else ("",):
            for hosts in [request.node_count] if request.node_count else range(1, max(1, request.gpu_count) + 1):
                if request.gpu_count % hosts:
                    continue
                each = request.gpu_count // hosts
                fitting = [
                    (len(free), host.node_id, free[:each])
                    for host in self.hosts.values()
                    if (free := self._free(host, gpu_type, asked, held)) is not None and len(free) >= each
                ]
                if len(fitting) >= hosts:
                    parts = sorted(fitting)[:hosts]
                    return Found(
                        gpu_type,
                        tuple(Placement(rank, node, tuple(free)) for rank, (_, node, free) in enumerate(parts)),
                        f"{each} on each of {hosts} hosts",
                    )
        return None

    def _free(self, host: Host, gpu_type: str, asked: Asked, held: list[Claim]) -> list[str] | None:
        """The GPUs that a rank can have on the host; None if it cannot be there at all."""
        request, here = asked.resources, self._on(host.node_id, held)
        if (
            not host.open
            or host.node_id in request.exclude_nodes
            or host.name in request.exclude_nodes
            or any(host.labels.get(key) != value for key, value in request.node_labels)
            or sum(one.resources.cpu_milli for one in here) + request.cpu_milli > host.cpu_milli
            or sum(one.resources.memory_bytes for one in here) + request.memory_bytes > host.memory_bytes
            or (request.exclusive_nodes and here)
            or any(one.resources.exclusive_nodes for one in here)
            or (
                request.anti_affinity
                and any((one.team, one.resources.anti_affinity) == (asked.team, request.anti_affinity) for one in here)
            )
        ):
            return None
        return [
            slot.uuid
            for slot in host.slots
            if slot.gpu_type == gpu_type and self._left(slot.uuid, here) >= (request.gpu_milli or 1000)
        ]

    def _free_milli(self, node_id: NodeId, uuid: str) -> int:
        return self._left(uuid, self._on(node_id, self._claims.values()))

    @staticmethod
    def _left(uuid: str, here: list[Claim]) -> int:
        return 1000 - sum(
            one.resources.gpu_milli or 1000 for one in here for part in one.placements if uuid in part.gpu_uuids
        )

    @staticmethod
    def _on(node_id: NodeId, claims: Iterable[Claim]) -> list[Claim]:
        return [one for one in claims if any(part.node_id == node_id for part in one.placements)]


def host(number: int, gpus: int = 8, gpu_type: str = "H100", **labels: str) -> Host:
    name = f"gpu-{number}"
    slots = tuple(GpuSlot(f"{name}-{index}", index, gpu_type, 80 * GB) for index in range(gpus))
    return Host(NodeId(f"n-{number}"), name, slots, 128_000, 1_000 * GB, labels)


def hosts(count: int, gpus: int = 8) -> list[Host]:
    return [host(number, gpus) for number in range(count)]


def waiting(
    name: str,
    gpus: int = 1,
    *,
    nodes: int = 0,
    team: str = "",
    user: str = "ada",
    priority: JobPriority = JobPriority.NORMAL,
    queued_at: datetime = NOW,
    runtime: int = 0,
    resources: ResourceRequest | None = None,
    waits_for: tuple[JobId, ...] = (),
) -> WaitingJob:
    wanted = resources or ResourceRequest(gpu_count=gpus, node_count=nodes)
    return WaitingJob(
        JobId(name), UserId(user), f"{user}@example.com", team, priority, wanted, queued_at, 0, runtime, waits_for
    )
