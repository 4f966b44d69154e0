"""The Protocol of a packing policy, and the engine that keeps the scores of all nodes up to date."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from control_plane.fleet.placement.packing.model import Assignment, Demand, Task
from control_plane.fleet.placement.packing.state import Bools, ClusterState, Ints

INFEASIBLE = np.iinfo(np.int64).min
_MAX_DEMANDS = 4_096  # scores kept at once, one number and one GPU a node each; the oldest goes first


class Policy(Protocol):
    """Chooses where a task goes. It never refuses a task that fits somewhere."""

    def choose(self, state: ClusterState, task: Task) -> Assignment | None:
        """The place for the task, or None if no node has room. Changes nothing in the state."""
        ...


class Free(Protocol):
    """What a scorer sees of nodes, a row each: free cores and shares, the number of each GPU's model, and changes."""

    @property
    def cpu_free(self) -> Ints:
        """In thousandths of a core."""
        ...

    @property
    def gpu_free(self) -> Ints:
        """In thousandths of a GPU, a column a GPU; nothing where there is none."""
        ...

    @property
    def slot_model(self) -> Ints:
        """Of each GPU."""
        ...

    @property
    def changed_at(self) -> Ints:
        """When each row last changed, as a count of changes."""
        ...


class Scorer(Protocol):
    """Scores nodes for a demand; the highest score wins, ties go to the first node."""

    def evaluate(self, free: Free, rows: Ints, demand: Demand, usable: Bools) -> tuple[Ints, Ints]:
        """For each of the nodes `rows`, all of which fit: its score, and the GPU that a share would take (else 0).

        `usable` says for each row which GPUs the demand may take; for whole GPUs these are of one model.
        """
        ...


@dataclass(slots=True)
class _Known:
    scores: Ints
    gpus: Ints
    sequence: int  # of the state, when the scores were made


class ScoredPolicy:
    """A policy that takes the node with the highest score, and scores a node again only after it changed.

    A score depends on the node's free CPU, its free GPU shares and the demand alone, so a decision costs what changed
    since the same demand was last asked for. Belongs to one state; not to be shared between threads.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: dict[Demand, _Known] = {}

    def choose(self, state: ClusterState, task: Task) -> Assignment | None:
        """The feasible node with the highest score; the first of them if several have it."""
        known = self._up_to_date(state, task.demand)
        scores = np.where(state.admits(task), known.scores, INFEASIBLE)
        if scores.size == 0:
            return None
        node = int(scores.argmax())
        if scores[node] == INFEASIBLE:
            return None
        return Assignment(node, state.gpus_for(node, task.demand, int(known.gpus[node])))

    def _up_to_date(self, state: ClusterState, demand: Demand) -> _Known:
        known = self._known.get(demand)
        if known is None:
            if len(self._known) >= _MAX_DEMANDS:
                self._known.pop(next(iter(self._known)))
            size = len(state.nodes)
            known = _Known(np.empty(size, dtype=np.int64), np.zeros(size, dtype=np.int64), 0)
            self._known[demand] = known
            rows: Ints = np.arange(size)
        else:
            rows = np.flatnonzero(state.changed_at > known.sequence)
        known.sequence = state.sequence
        if rows.size:
            known.scores[rows] = INFEASIBLE
            rows = rows[state.fits(rows, demand)]
        if rows.size:
            known.scores[rows], known.gpus[rows] = self._scorer.evaluate(
                state, rows, demand, state.usable(rows, demand)
            )
        return known


def first_best_gpu(pair_scores: Ints, pair_rows: Ints, pair_gpus: Ints, shape: tuple[int, int]) -> tuple[Ints, Ints]:
    """For each row, the best score over its GPUs and the first GPU that has it; pairs are (row, GPU)."""
    table = np.full(shape, INFEASIBLE, dtype=np.int64)
    table[pair_rows, pair_gpus] = pair_scores
    gpus: Ints = table.argmax(axis=1)
    return table[np.arange(shape[0]), gpus], gpus


def place_all(state: ClusterState, policy: Policy, tasks: Sequence[Task]) -> list[Assignment | None]:
    """Place the tasks one after the other; None for each that found no room and was dropped."""
    placed: list[Assignment | None] = []
    for task in tasks:
        assignment = policy.choose(state, task)
        if assignment is not None:
            state.take(task, assignment)
        placed.append(assignment)
    return placed
