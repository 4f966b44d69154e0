"""How well each host suits a need, kept up to date: a host is scored again only after it changed."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from control_plane.fleet.placement.fits import fitting, in_one_island, largest_group, usable
from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.needs import Need
from control_plane.fleet.placement.packing.policy import Scorer
from control_plane.fleet.placement.packing.state import Bools, Ints

Scored: TypeAlias = npt.NDArray[np.int32]
Slots: TypeAlias = npt.NDArray[np.int8]

NO_ROOM = np.iinfo(np.int32).min
_STEP = 1 << 10  # a step of the policy's score outweighs all that a host may have free
_FREE_GRAIN_MILLI = 64  # a host's free shares count in parts of this: 64 GPUs are 1,000 of them
_ISLAND_BAND = 1 << 28  # of hosts where the GPUs can be of one island: above all others
_NO_GPU_BAND = 1 << 29  # of hosts without GPUs, for who needs none
_MOST_STEPS = 1 << 17
_MAX_NUMBERS = 5_000_000  # kept at once, over all needs; the need that was asked for longest ago goes first
_DISTINCT_FROM = 64  # rows from which on looking for hosts that are alike pays
_CHUNK_ROWS = 1_024  # scored at once: bounds the memory that it takes
_CPU_PARTS_PER_STEP = 1_000
_WHOLE_CPU_PARTS = 16  # milli-cores that a thousandth of a GPU counts as: eight GPUs are as much as 128 cores


@dataclass(slots=True)
class _Known:
    scores: Scored
    slots: Slots
    sequence: int  # of the grid, when the scores were made


class Scores:
    """Scores of all rows by need. Within a step of the policy's score, the fullest host goes first."""

    def __init__(self, grid: Grid, scorer: Scorer) -> None:
        self._grid = grid
        self._scorer = scorer
        self._known: dict[Need, _Known] = {}

    def of(self, need: Need) -> tuple[Scored, Slots]:
        """Return for each row its score, NO_ROOM where the need does not fit, and the slot that a share would take.

        Labels, memory and who else is there are not asked about. The arrays are not to be changed.
        """
        grid, count = self._grid, self._grid.count
        known = self._known.pop(need, None)
        if known is None or known.scores.size < count:
            while self._known and (len(self._known) + 1) * count > _MAX_NUMBERS:
                del self._known[next(iter(self._known))]
            known = _Known(np.full(count, NO_ROOM, dtype=np.int32), np.zeros(count, dtype=np.int8), 0)
        self._known[need] = known  # the last one now
        if known.sequence < grid.sequence:
            rows = np.flatnonzero(grid.changed_at[:count] > known.sequence)
            known.scores[rows] = NO_ROOM
            rows = fitting(grid, rows, need)
            if rows.size:
                known.scores[rows], known.slots[rows] = self._score(rows, need)
            known.sequence = grid.sequence
        return known.scores, known.slots

    def _score(self, rows: Ints, need: Need) -> tuple[Ints, Ints]:
        """Score hosts that fit. Empty hosts of one shape are scored once."""
        if rows.size < _DISTINCT_FROM:
            return self._score_each(rows, need)
        grid = self._grid
        alike = np.where(grid.holders[rows] == 0, grid.shape[rows], -1 - rows)
        _, first, back = np.unique(alike, return_index=True, return_inverse=True)
        parts = [rows[first[at : at + _CHUNK_ROWS]] for at in range(0, first.size, _CHUNK_ROWS)]
        scored = [self._score_each(part, need) for part in parts]
        scores, slots = (np.concatenate(both) for both in zip(*scored, strict=True))
        return scores[back], slots[back]

    def _score_each(self, rows: Ints, need: Need) -> tuple[Ints, Ints]:
        grid = self._grid
        left = np.minimum(grid.gpu_free[rows].sum(axis=1) // _FREE_GRAIN_MILLI, _STEP - 1)
        if need.exclusive:  # it takes all of the host, so the smallest goes first
            size = grid.cpu_free[rows] + _WHOLE_CPU_PARTS * grid.gpu_free[rows].sum(axis=1)
            return _bounded(-(size // _CPU_PARTS_PER_STEP)) * _STEP + self._band(rows, need), np.zeros_like(rows)
        if need.count == 0:
            return self._score_cpu(rows, need, left)
        slots = usable(grid, rows, need)
        if need.shared:
            steps, gpus = self._scorer.evaluate(grid, rows, need.demand, slots)
            return _bounded(steps) * _STEP - left, gpus
        steps = self._score_whole(rows, need, slots)
        near = in_one_island(grid, rows, need, slots)
        return _bounded(steps) * _STEP - left + near * _ISLAND_BAND, np.zeros_like(rows)

    def _score_whole(self, rows: Ints, need: Need, slots: Bools) -> Ints:
        """Score by the model of which a host loses least."""
        grid = self._grid
        mixed = grid.mixed[rows]
        if not mixed.any():
            return self._scorer.evaluate(grid, rows, need.demand, slots)[0]
        steps = np.full(rows.size, -_MOST_STEPS, dtype=np.int64)
        models = grid.slot_model[rows]
        for model in sorted(set(grid.kinds.model_of[list(need.kinds)].tolist())):
            of_model = slots & (models == model)
            at = np.flatnonzero(of_model.sum(axis=1) >= need.count)
            if need.island and at.size:
                at = at[largest_group(grid, rows[at], of_model[at], by_island=True) >= need.count]
            if at.size:
                found, _ = self._scorer.evaluate(grid, rows[at], need.demand, of_model[at])
                steps[at] = np.maximum(steps[at], found)
        return steps

    def _score_cpu(self, rows: Ints, need: Need, left: Ints) -> tuple[Ints, Ints]:
        """Score for who needs no GPU: hosts without GPUs first, the fullest of them; then as the policy says."""
        grid = self._grid
        scores = np.empty(rows.size, dtype=np.int64)
        with_gpus = grid.has_gpus[rows]
        at = np.flatnonzero(with_gpus)
        if at.size:
            steps, _ = self._scorer.evaluate(grid, rows[at], need.demand, usable(grid, rows[at], need))
            scores[at] = _bounded(steps) * _STEP - left[at]
        at = np.flatnonzero(~with_gpus)
        fullness = -((grid.cpu_free[rows[at]] - need.cpu_milli) // _CPU_PARTS_PER_STEP)
        scores[at] = _bounded(fullness) * _STEP + _NO_GPU_BAND
        return scores, np.zeros_like(rows)

    def _band(self, rows: Ints, need: Need) -> Ints:
        if need.count == 0:
            return np.where(self._grid.has_gpus[rows], 0, _NO_GPU_BAND).astype(np.int64)
        return in_one_island(self._grid, rows, need, usable(self._grid, rows, need)).astype(np.int64) * _ISLAND_BAND


def _bounded(steps: Ints) -> Ints:
    return np.clip(steps, 1 - _MOST_STEPS, _MOST_STEPS - 1)
