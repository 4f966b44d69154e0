"""BestFit and Random, the plain policies that others are measured against."""

from collections.abc import Sequence

import numpy as np

from control_plane.fleet.placement.packing.model import Assignment, Demand, Task
from control_plane.fleet.placement.packing.policy import Free, ScoredPolicy
from control_plane.fleet.placement.packing.state import Bools, ClusterState, Ints

_FULL_SCORE = 256_000  # 100 points of 2,560 parts each
_PARTS_PER_POINT = 2_560


class BestFitScorer:
    """100 x (1 - half the CPU left / 128 cores - half the GPUs left / 8), rounded down; the tightest GPU."""

    def evaluate(self, free: Free, rows: Ints, demand: Demand, usable: Bools) -> tuple[Ints, Ints]:
        """Scores in points; whole numbers throughout, so that ties are ties."""
        shares = free.gpu_free[rows]
        cpu_left = free.cpu_free[rows] - demand.cpu_milli
        gpu_left = shares.sum(axis=1) - demand.gpu_count * demand.gpu_milli
        scores: Ints = (_FULL_SCORE - cpu_left - 16 * gpu_left) // _PARTS_PER_POINT
        if not demand.shared:
            return scores, np.zeros(rows.size, dtype=np.int64)
        return scores, np.where(usable, shares, np.iinfo(np.int64).max).argmin(axis=1)


def best_fit() -> ScoredPolicy:
    """The node that has least left, half by CPU and half by GPUs."""
    return ScoredPolicy(BestFitScorer())


class RandomPolicy:
    """A node with room, and on it a GPU with room, each by chance from the seed."""

    def __init__(self, seed: int | Sequence[int]) -> None:
        self._chance = np.random.default_rng(seed)

    def choose(self, state: ClusterState, task: Task) -> Assignment | None:
        """Each feasible node is as likely as any other."""
        demand = task.demand
        rows = np.flatnonzero(state.admits(task) & state.fits(np.arange(len(state.nodes)), demand))
        if rows.size == 0:
            return None
        node = int(self._chance.choice(rows))
        gpu = 0
        if demand.shared:
            gpu = int(self._chance.choice(np.flatnonzero(state.gpu_free[node] >= demand.gpu_milli)))
        return Assignment(node, state.gpus_for(node, demand, gpu))
