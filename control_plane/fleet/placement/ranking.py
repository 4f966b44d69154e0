"""Which packing policy scores the hosts, and when it is made anew from what was asked for lately."""

from collections.abc import Callable, Iterable
from enum import Enum
from itertools import islice

import numpy as np

from control_plane.fleet.placement.fits import fitting, usable
from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.history import History
from control_plane.fleet.placement.needs import Need
from control_plane.fleet.placement.packing.baselines import BestFitScorer
from control_plane.fleet.placement.packing.blend import BlendScorer
from control_plane.fleet.placement.packing.classes import covering
from control_plane.fleet.placement.packing.fgd import COVERED_PERCENT, FgdScorer
from control_plane.fleet.placement.packing.node_value import ValueTerms
from control_plane.fleet.placement.packing.policy import Scorer
from control_plane.fleet.placement.packing.state import Ints
from control_plane.fleet.placement.scores import NO_ROOM, Scored, Scores, Slots
from control_plane.model.job import ResourceRequest

_FEWEST_DEMANDS, _MOST_DEMANDS = 10, 2_000  # noted between two times that a scorer is made
_GROWTH = 4  # and in between a fourth of all that was noted
_MAX_WAITING = 2_000  # of the jobs that wait, the first so many are looked at


class PackingPolicy(Enum):
    """How a host is chosen among those with room."""

    NODE_VALUE = "node_value"
    FGD = "fgd"
    BEST_FIT = "best_fit"
    RANDOM = "random"


class PolicyRanking:
    """Scores by a policy that knows the history.

    A scorer is made anew when the history has grown by a fourth, after 10 demands at the earliest and 2,000 at the
    latest, and when a GPU model is new to the fleet.
    """

    def __init__(self, grid: Grid, policy: PackingPolicy, history: History, seed: int) -> None:
        self.history = history
        self.policy = policy
        self._grid = grid
        self._seed = seed
        self._waiting: Callable[[], Iterable[ResourceRequest]] = tuple
        self._scores = Scores(grid, BestFitScorer())
        self._models = 0
        self._next_at = 0

    def expect(self, waiting: Callable[[], Iterable[ResourceRequest]]) -> None:
        """Let the jobs that wait, of which the first 2,000 are looked at, count among what is to come.

        They are asked for whenever a scorer is made.
        """
        self._waiting = waiting

    def of(self, need: Need) -> tuple[Scored, Slots]:
        """Return for each row its score, NO_ROOM where the need does not fit, and the slot that a share would take."""
        if self.policy is PackingPolicy.RANDOM:
            return self._by_chance(need)
        if self.policy is not PackingPolicy.BEST_FIT and self._is_due():
            self._scores = Scores(self._grid, self._scorer())
            self._models, noted = len(self._grid.kinds.models), self.history.noted
            self._next_at = noted + min(max(noted // _GROWTH, _FEWEST_DEMANDS), _MOST_DEMANDS)
        return self._scores.of(need)

    def _is_due(self) -> bool:
        return self.history.noted >= self._next_at or self._models != len(self._grid.kinds.models)

    def _scorer(self) -> Scorer:
        classes = self.history.classes(islice(self._waiting(), _MAX_WAITING))
        models = tuple(self._grid.kinds.models)
        if self.policy is PackingPolicy.FGD:
            return FgdScorer(covering(classes, COVERED_PERCENT), models)
        return BlendScorer(classes, models, ValueTerms())

    def _by_chance(self, need: Need) -> tuple[Scored, Slots]:
        known, slots = self._scores.of(need)
        chance = np.random.default_rng((self._seed, self._grid.sequence))
        drawn = chance.integers(0, np.iinfo(np.int32).max, known.size, dtype=np.int32)
        return np.where(known > NO_ROOM, drawn, NO_ROOM).astype(np.int32), slots


class FitRanking:
    """Says where a need fits now, and no more. Nothing is kept: what is asked for here is asked for once."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def of(self, need: Need) -> tuple[Scored, Slots]:
        """Return for each row 0, or NO_ROOM where the need does not fit, and a slot that a share could take."""
        count = self._grid.count
        return _fits(self._grid, np.arange(count), need, count)


class EmptyRanking:
    """Says where a need fits on a grid on which nothing is held, and no more. Hosts of one shape are looked at once."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._version = -1
        self._first = np.zeros(0, dtype=np.int64)
        self._back = np.zeros(0, dtype=np.int64)

    def of(self, need: Need) -> tuple[Scored, Slots]:
        """Return for each row 0, or NO_ROOM where the need does not fit, and a slot that a share could take."""
        grid = self._grid
        if self._version != grid.hosts_version:
            _, self._first, self._back = np.unique(grid.shape[: grid.count], return_index=True, return_inverse=True)
            self._version = grid.hosts_version
        scores, slots = _fits(grid, self._first, need, grid.count)
        return scores[self._first][self._back], slots[self._first][self._back]


def _fits(grid: Grid, rows: Ints, need: Need, count: int) -> tuple[Scored, Slots]:
    rows = fitting(grid, rows, need)
    scores = np.full(count, NO_ROOM, dtype=np.int32)
    scores[rows] = 0
    slots = np.zeros(count, dtype=np.int8)
    if need.shared:
        slots[rows] = usable(grid, rows, need).argmax(axis=1)
    return scores, slots
