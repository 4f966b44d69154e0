"""What is free in a cluster, as arrays, and when each node last changed."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI, Assignment, Demand, Node, Task

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class OverCommitError(ValueError):
    """An assignment asks for more than is free, or gives back more than is taken."""


class ClusterState:
    """Free CPU, memory and GPU shares of each node.

    The order of the nodes is the order in which ties between them are decided. GPUs that a node does not have count as
    GPUs with nothing free. `sequence` counts the changes; `changed_at` has, for each node, its count at its last one.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        self.models = tuple(sorted({node.gpu_model for node in nodes}))
        numbers = {model: number for number, model in enumerate(self.models)}
        width = max((node.gpu_count for node in nodes), default=0) or 1
        self.cpu_free: Ints = np.array([node.cpu_milli for node in nodes], dtype=np.int64)
        self.memory_free: Ints = np.array([node.memory_mib for node in nodes], dtype=np.int64)
        self.gpu_count: Ints = np.array([node.gpu_count for node in nodes], dtype=np.int64)
        self.model: Ints = np.array([numbers[node.gpu_model] for node in nodes], dtype=np.int64)
        self.slot_model: Ints = np.repeat(self.model[:, None], width, axis=1)
        present = np.arange(width)[None, :] < self.gpu_count[:, None]
        self.gpu_free: Ints = np.where(present, WHOLE_GPU_MILLI, 0).astype(np.int64)
        self.largest_free: Ints = self.gpu_free.max(axis=1) if nodes else np.zeros(0, dtype=np.int64)
        self.whole_free: Ints = self.gpu_count.copy()
        self.sequence = 0
        self.changed_at: Ints = np.zeros(len(self.nodes), dtype=np.int64)
        self._admitted: dict[frozenset[str], Bools] = {}

    @property
    def capacity_milli(self) -> int:
        """All GPU shares of the cluster, taken and free."""
        return int(self.gpu_count.sum()) * WHOLE_GPU_MILLI

    @property
    def allocated_milli(self) -> int:
        """The GPU shares that are taken."""
        return self.capacity_milli - int(self.gpu_free.sum())

    def fits(self, rows: Ints, demand: Demand) -> Bools:
        """Which of the nodes `rows` have the CPU and the GPUs; memory and GPU models are in `admits`."""
        cpu: Bools = self.cpu_free[rows] >= demand.cpu_milli
        if demand.gpu_count == 0:
            return cpu
        if demand.shared:
            return cpu & (self.largest_free[rows] >= demand.gpu_milli)
        return cpu & (self.whole_free[rows] >= demand.gpu_count)

    def usable(self, rows: Ints, demand: Demand) -> Bools:
        """Which GPUs of the nodes `rows` have the share free, or are wholly free."""
        free: Bools = self.gpu_free[rows] >= demand.gpu_milli
        return free

    def admits(self, task: Task) -> Bools:
        """Which nodes have the memory and a GPU model that the task takes."""
        memory: Bools = self.memory_free >= task.memory_mib
        return memory & self._of_model(task.gpu_models) if task.gpu_models else memory

    def _of_model(self, wanted: frozenset[str]) -> Bools:
        found = self._admitted.get(wanted)
        if found is None:
            found = np.array([model in wanted for model in self.models], dtype=np.bool_)[self.model]
            self._admitted[wanted] = found
        return found

    def gpus_for(self, node: int, demand: Demand, gpu: int) -> tuple[int, ...]:
        """The GPUs a task would take: `gpu` for a share, the lowest-numbered free ones for whole GPUs."""
        if demand.shared:
            return (gpu,)
        whole = np.flatnonzero(self.gpu_free[node] == WHOLE_GPU_MILLI)
        return tuple(int(number) for number in whole[: demand.gpu_count])

    def take(self, task: Task, assignment: Assignment) -> None:
        """Place the task. Raises OverCommitError, and changes nothing, if the node lacks what it needs."""
        node, demand, gpus = assignment.node, task.demand, assignment.gpus
        self._check_gpus(node, demand, gpus)
        if any(self.gpu_free[node, gpu] < demand.gpu_milli for gpu in gpus):
            raise OverCommitError(f"a GPU of node {node} has less than {demand.gpu_milli} milli free")
        if self.cpu_free[node] < demand.cpu_milli or self.memory_free[node] < task.memory_mib:
            raise OverCommitError(f"node {node} has too little CPU or memory free")
        self._change(node, task, gpus, -1)

    def give_back(self, task: Task, assignment: Assignment) -> None:
        """Take the task away again. Raises OverCommitError, and changes nothing, if it was not there."""
        node, demand, gpus = assignment.node, task.demand, assignment.gpus
        self._check_gpus(node, demand, gpus)
        whole = self.nodes[node]
        too_much = any(self.gpu_free[node, gpu] + demand.gpu_milli > WHOLE_GPU_MILLI for gpu in gpus)
        if (
            too_much
            or self.cpu_free[node] + demand.cpu_milli > whole.cpu_milli
            or self.memory_free[node] + task.memory_mib > whole.memory_mib
        ):
            raise OverCommitError(f"node {node} would have more free than it has")
        self._change(node, task, gpus, 1)

    def _check_gpus(self, node: int, demand: Demand, gpus: tuple[int, ...]) -> None:
        if len(set(gpus)) != demand.gpu_count or len(gpus) != demand.gpu_count:
            raise OverCommitError(f"the task takes {demand.gpu_count} GPUs, not {len(gpus)}")
        if any(not 0 <= gpu < self.gpu_count[node] for gpu in gpus):
            raise OverCommitError(f"node {node} has no such GPU")

    def _change(self, node: int, task: Task, gpus: tuple[int, ...], sign: int) -> None:
        self.cpu_free[node] += sign * task.demand.cpu_milli
        self.memory_free[node] += sign * task.memory_mib
        if gpus:
            free = self.gpu_free[node]
            for gpu in gpus:
                free[gpu] += sign * task.demand.gpu_milli
            self.largest_free[node] = free.max()
            self.whole_free[node] = np.count_nonzero(free == WHOLE_GPU_MILLI)
        self.sequence += 1
        self.changed_at[node] = self.sequence
