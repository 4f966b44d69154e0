"""Fragmentation gradient descent: the task goes where the shares that nobody can use grow least.

Source: Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent",
USENIX ATC 2023, with the rules of its published simulator: whole-numbered scores, ties by a fixed order of the nodes.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from control_plane.fleet.placement.packing.classes import TaskClass, count_classes, covering
from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI, Demand, Task
from control_plane.fleet.placement.packing.policy import Free, ScoredPolicy, first_best_gpu
from control_plane.fleet.placement.packing.state import Bools, Ints

# Whole numbers below 2**53 held as floats: products of matrices are fast and still exact, in whatever order they add.
Floats: TypeAlias = npt.NDArray[np.float64]

COVERED_PERCENT = 95


class FgdScorer:
    """Scores by the decrease of a node's fragments, weighted by how common each class of tasks is."""

    def __init__(self, classes: tuple[TaskClass, ...], models: tuple[str, ...]) -> None:
        """The expected classes, and the GPU models of the state it will score."""
        shares = np.array([kind.demand.gpu_milli for kind in classes], dtype=np.int64)
        free = np.arange(WHOLE_GPU_MILLI + 1)[:, None]
        self._unusable: Floats = np.where(free < shares, free, 0).astype(np.float64)
        self._usable: Floats = (free >= shares).astype(np.float64)
        self._cpu = np.array([kind.demand.cpu_milli for kind in classes], dtype=np.int64)
        self._gpus = np.array([kind.demand.gpu_count for kind in classes], dtype=np.int64)
        counts = [kind.count for kind in classes]
        self._weights: Floats = np.array(counts, dtype=np.float64)
        self._scale = sum(counts) * WHOLE_GPU_MILLI
        self._accepted: Bools = np.array(
            [[kind.demand.gpu_count > 0 and kind.accepts(model) for kind in classes] for model in models],
            dtype=np.bool_,
        ).reshape(len(models), len(classes))

    def evaluate(self, free: Free, rows: Ints, demand: Demand, usable: Bools) -> tuple[Ints, Ints]:
        """Scores from 0 to 100; 50 where the fragments stay as they are. A node counts as of its first GPU's model."""
        points = self._points(self._decrease(free, rows, demand, usable))
        if demand.shared:
            at, gpus = np.nonzero(usable)
            return first_best_gpu(points, at, gpus, usable.shape)
        return points, np.zeros(rows.size, dtype=np.int64)

    def gains(self, free: Free, rows: Ints, demand: Demand, usable: Bools) -> Floats:
        """By how much of a GPU the fragments become less: for each of the rows, or each usable GPU for a share."""
        gains: Floats = self._decrease(free, rows, demand, usable) / self._scale
        return gains

    def _decrease(self, free: Free, rows: Ints, demand: Demand, usable: Bools) -> Floats:
        shares = free.gpu_free[rows]
        wasted, of_use = self._unusable[shares].sum(axis=1), self._usable[shares].sum(axis=1)
        cpu, model, total = free.cpu_free[rows], free.slot_model[rows, 0], shares.sum(axis=1)
        before = self._fragments(wasted, of_use, total, cpu, model)
        cpu_after = cpu - demand.cpu_milli
        if demand.shared:
            at, gpus = np.nonzero(usable)
            old = shares[at, gpus]
            rest = old - demand.gpu_milli
            after = self._fragments(
                wasted[at] - self._unusable[old] + self._unusable[rest],
                of_use[at] - self._usable[old] + self._usable[rest],
                total[at] - demand.gpu_milli,
                cpu_after[at],
                model[at],
            )
            return before[at] - after
        taken = demand.gpu_count
        after = self._fragments(
            wasted - taken * self._unusable[WHOLE_GPU_MILLI] + taken * self._unusable[0],
            of_use - taken * self._usable[WHOLE_GPU_MILLI] + taken * self._usable[0],
            total - taken * WHOLE_GPU_MILLI,
            cpu_after,
            model,
        )
        return before - after

    def _fragments(self, wasted: Floats, of_use: Floats, total: Ints, cpu: Ints, model: Ints) -> Floats:
        runs = self._accepted[model] & (cpu[:, None] >= self._cpu) & (of_use >= self._gpus)
        fragments: Floats = np.where(runs, wasted, total[:, None]) @ self._weights
        return fragments

    def _points(self, decrease: Floats) -> Ints:
        points: Floats = np.floor(100 / (1 + np.exp(-decrease / self._scale)))
        return points.astype(np.int64)


def fgd(tasks: list[Task], models: tuple[str, ...]) -> ScoredPolicy:
    """FGD for tasks like these: their most common classes up to 95 % of them are what it expects."""
    return ScoredPolicy(FgdScorer(covering(count_classes(tasks), COVERED_PERCENT), models))
