"""What a request takes of each host, and the ways to spread it, best liked first."""

from collections.abc import Iterator
from dataclasses import dataclass

from control_plane.fleet.placement.kinds import Kinds
from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI, Demand
from control_plane.model.job import ResourceRequest, TopologyDomain

_ONE_HOST = (TopologyDomain.NVLINK, TopologyDomain.NODE)


@dataclass(frozen=True, slots=True)
class Need:
    """What one member of a gang takes of one host, as far as the score of a host hangs on it.

    `milli` of each of `count` slots of these kinds; `island` says that all must be in one NVLink island.
    """

    cpu_milli: int
    count: int
    milli: int
    share_memory_bytes: int
    kinds: tuple[int, ...]
    island: bool = False
    exclusive: bool = False

    @property
    def shared(self) -> bool:
        """Whether it takes a part of one GPU."""
        return self.count == 1 and self.milli < WHOLE_GPU_MILLI

    @property
    def demand(self) -> Demand:
        """The same in the units of the packing policies."""
        return Demand(self.cpu_milli, self.count, self.milli if self.count else 0)


@dataclass(frozen=True, slots=True)
class Way:
    """So many members on as many hosts. `gpu_type` is empty if any will do, or none is needed."""

    node_count: int
    need: Need
    gpu_type: str = ""


def slots_of(request: ResourceRequest) -> int:
    """Return how many slots a request takes in all."""
    return 1 if request.gpu_milli else request.gpu_count


def ways(request: ResourceRequest, kinds: Kinds) -> tuple[tuple[Way, ...], ...]:
    """Return the ways to spread a request: those of an earlier group are tried first, those of one group are equals.

    The first liked GPU type that fits is taken; on the fewest hosts, if the request does not say on how many.
    """
    slots = slots_of(request)
    if request.gpu_milli and request.mig_profile:
        return ()  # MIG devices are not divided
    if slots == 0:
        if request.topology in _ONE_HOST and request.node_count > 1:
            return ()
        return ((Way(max(1, request.node_count), _need(request, 0, ())),),)
    numbers = kinds.wanted(request)
    if request.gpu_types:
        liked = dict.fromkeys(request.gpu_types)
        groups = [
            (Way(count, _need(request, slots // count, found), gpu_type),)
            for gpu_type in liked
            if (found := kinds.wanted(request, gpu_type))
            for count in _counts(request, slots)
        ]
        return tuple(groups)
    return tuple(
        tuple(_any_type(request, kinds, numbers, count, slots // count)) for count in _counts(request, slots) if numbers
    )


def _any_type(request: ResourceRequest, kinds: Kinds, numbers: tuple[int, ...], count: int, each: int) -> Iterator[Way]:
    if count == 1:  # the score says which type
        yield Way(1, _need(request, each, numbers))
        return
    for gpu_type in kinds.types_of(numbers):
        yield Way(count, _need(request, each, kinds.wanted(request, gpu_type)), gpu_type)


def _counts(request: ResourceRequest, slots: int) -> list[int]:
    if request.topology in _ONE_HOST:
        return [1] if request.node_count <= 1 else []
    if request.node_count:
        return [request.node_count] if slots % request.node_count == 0 else []
    return [count for count in range(1, slots + 1) if slots % count == 0]


def _need(request: ResourceRequest, each: int, numbers: tuple[int, ...]) -> Need:
    return Need(
        cpu_milli=request.cpu_milli,
        count=each,
        milli=request.gpu_milli or WHOLE_GPU_MILLI,
        share_memory_bytes=request.share_memory_bytes if request.gpu_milli else 0,
        kinds=numbers,
        island=request.topology is TopologyDomain.NVLINK and each > 1,
        exclusive=request.exclusive_nodes,
    )
