"""Nodes, tasks and assignments, in the units of the packing policies."""

from dataclasses import dataclass

WHOLE_GPU_MILLI = 1_000
MAX_GPUS_PER_NODE = 64  # bounds the width of the arrays


@dataclass(frozen=True, slots=True)
class Node:
    """A host, empty. Its GPUs are alike; `gpu_model` may be empty. Raises ValueError if a size is out of range."""

    name: str
    cpu_milli: int
    memory_mib: int
    gpu_count: int
    gpu_model: str

    def __post_init__(self) -> None:
        if min(self.cpu_milli, self.memory_mib, self.gpu_count) < 0 or self.gpu_count > MAX_GPUS_PER_NODE:
            raise ValueError(f"node {self.name!r}: give sizes of 0 or more and at most {MAX_GPUS_PER_NODE} GPUs")


@dataclass(frozen=True, slots=True)
class Demand:
    """What decides how well a task fits beside others: CPU and GPUs. Memory and GPU models only admit or refuse."""

    cpu_milli: int
    gpu_count: int
    gpu_milli: int  # of each GPU

    @property
    def shared(self) -> bool:
        """Whether it takes a part of one GPU."""
        return self.gpu_count == 1 and self.gpu_milli < WHOLE_GPU_MILLI


@dataclass(frozen=True, slots=True)
class Task:
    """One task. No GPU models means that any will do. Raises ValueError if a size is out of range."""

    demand: Demand
    memory_mib: int
    gpu_models: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        demand = self.demand
        if min(demand.cpu_milli, demand.gpu_count, self.memory_mib) < 0:
            raise ValueError("give a task sizes of 0 or more")
        if demand.gpu_count == 0 and demand.gpu_milli != 0:
            raise ValueError("a task without a GPU takes no share: set gpu_milli to 0")
        if demand.gpu_count > 0 and not 1 <= demand.gpu_milli <= WHOLE_GPU_MILLI:
            raise ValueError("set gpu_milli of a task with GPUs between 1 and 1000")
        if demand.gpu_count > 1 and demand.gpu_milli != WHOLE_GPU_MILLI:
            raise ValueError("a task with several GPUs takes them whole: set gpu_milli to 1000")


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a task went: the index of the node, and the numbers of its GPUs there."""

    node: int
    gpus: tuple[int, ...]
