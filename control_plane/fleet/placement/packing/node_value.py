"""Node value: a task goes where the node loses least of what it could still be worth.

A node is worth what the expected tasks could at most make of its free shares, with its free cores sold at the price at
which that is least (the Lagrangian bound of packing cores and shares together). The tables of the best use of one GPU
are made once for each GPU model and price of a core, so a score is a few additions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from control_plane.fleet.placement.packing.classes import TaskClass, count_classes, covering
from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI, Demand, Task
from control_plane.fleet.placement.packing.policy import Free, ScoredPolicy, first_best_gpu
from control_plane.fleet.placement.packing.share_values import share_values, simple_share_values
from control_plane.fleet.placement.packing.state import Bools, Ints

NANO = 1_000_000_000  # values in billionths of a GPU: whole numbers, so equal values are equal
Floats: TypeAlias = npt.NDArray[np.float64]
_LEAST_PERCENT = 50
_MAX_EXPECTED = 128  # bounds how long it takes to make the tables
_MAX_SHARES = 24  # bounds how long it takes to value them


@dataclass(frozen=True, slots=True)
class ValueTerms:
    """The choices in the method. Classes rarer than `rare_permille` of the tasks are left out."""

    rare_permille: int = 3
    step_milli: int = 40  # of a GPU: differences within a step are ties
    prices: int = 40  # beside the price of nothing
    lowest_price_milli: int = 2  # of a GPU, for a core
    highest_price_milli: int = 400
    grain_milli: int = 10  # the tables know free shares in these steps


_STEP_SLACK = 1_000  # nano: keeps a difference of exactly one step from being rounded down to the next


def core_prices(terms: ValueTerms) -> Ints:
    """The prices tried, in nano-GPU for a milli-core: nothing, then in equal ratios from the lowest to the highest."""
    # A thousandth of a GPU for a core is 1,000 nano for a milli-core.
    spread = np.geomspace(terms.lowest_price_milli, terms.highest_price_milli, terms.prices) * 1_000
    return np.concatenate([[0], np.rint(spread)]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Use:
    """One way to use a part of a GPU: a class of tasks, per GPU."""

    share_milli: int
    cpu_milli: int
    value_nano: int


def values_of(classes: tuple[TaskClass, ...]) -> dict[int, float]:
    """The value of each share size that the classes ask for; of rarer ones a plain one, so that it costs little."""
    wanted: dict[int, int] = {}
    for kind in classes:
        share = kind.demand.gpu_milli
        wanted[share] = wanted.get(share, 0) + kind.count * kind.demand.gpu_count
    common = sorted(wanted, key=lambda share: (-wanted[share], share))[:_MAX_SHARES]
    return simple_share_values(wanted) | share_values({share: wanted[share] for share in common})


def expected(classes: tuple[TaskClass, ...], terms: ValueTerms) -> tuple[TaskClass, ...]:
    """The classes that are common enough; the commonest ones that are half of all tasks are so in any case."""
    total = sum(kind.count for kind in classes)
    often = [kind for kind in classes if kind.count * 1_000 >= terms.rare_permille * total]
    return max(tuple(often), covering(classes, _LEAST_PERCENT), key=len)[:_MAX_EXPECTED]


def uses_of(
    classes: tuple[TaskClass, ...], model: str, terms: ValueTerms, values: Mapping[int, float]
) -> tuple[Use, ...]:
    """The uses of a GPU of this model by the classes that are common enough; `values` are of their share sizes."""
    return tuple(
        Use(
            kind.demand.gpu_milli,
            kind.demand.cpu_milli // kind.demand.gpu_count,
            round(values[kind.demand.gpu_milli] * NANO),
        )
        for kind in expected(classes, terms)
        if kind.demand.gpu_count > 0 and kind.accepts(model)
    )


def best_uses(uses: tuple[Use, ...], prices: Ints, grain_milli: int) -> Ints:
    """The most that free shares can be worth, net of their cores: (steps of the free share, prices), in nano-GPU."""
    steps = WHOLE_GPU_MILLI // grain_milli
    table = np.zeros((steps + 1, prices.size), dtype=np.int64)
    nets = [(-(-use.share_milli // grain_milli), use.value_nano - prices * use.cpu_milli) for use in uses]
    for step in range(1, steps + 1):
        table[step] = table[step - 1]
        for width, net in nets:
            if width <= step:
                np.maximum(table[step], table[step - width] + net, out=table[step])
    return table


class NodeValueScorer:
    """Scores by the change of a node's value, in steps; always 0 or less but for rounding.

    What each node is worth is kept until it changes, so a scorer belongs to one set of nodes.
    """

    def __init__(
        self,
        classes: tuple[TaskClass, ...],
        models: tuple[str, ...],
        terms: ValueTerms,
        values: Mapping[int, float] | None = None,
    ) -> None:
        """The expected classes, and the GPU models of the nodes it will score.

        `values` of their share sizes, where they are known better than by `values_of`.
        """
        self._prices = core_prices(terms)
        self._grain = terms.grain_milli
        self._step = terms.step_milli * (NANO // 1_000)
        values = values_of(classes) if values is None else values
        made: dict[tuple[Use, ...], Ints] = {}
        for model in models:
            uses = uses_of(classes, model, terms, values)
            if uses not in made:
                made[uses] = best_uses(uses, self._prices, terms.grain_milli)
        self._tables: Ints = np.stack([made[uses_of(classes, model, terms, values)] for model in models])
        self._worth: Ints = np.zeros((0, self._prices.size), dtype=np.int64)  # of all GPUs of a node, at each price
        self._before: Ints = np.zeros(0, dtype=np.int64)  # of the node
        self._made_at: Ints = np.zeros(0, dtype=np.int64)

    def evaluate(self, free: Free, rows: Ints, demand: Demand, usable: Bools) -> tuple[Ints, Ints]:
        """Scores in steps of value lost (as negative numbers), and the first GPU with the best."""
        steps = self.steps(self.changes(free, rows, demand, usable))
        if demand.shared:
            at, gpus = np.nonzero(usable)
            return first_best_gpu(steps, at, gpus, usable.shape)
        return steps, np.zeros(rows.size, dtype=np.int64)

    def changes(self, free: Free, rows: Ints, demand: Demand, usable: Bools) -> Ints:
        """The change of value in nano-GPU: for each of the rows, or each usable GPU for a share, in their order."""
        self._bring_up_to_date(free, rows)
        worth, before = self._worth[rows], self._before[rows]
        sold = (free.cpu_free[rows] - demand.cpu_milli)[:, None] * self._prices
        if demand.shared:
            at, gpus = np.nonzero(usable)
            old, kind = free.gpu_free[rows[at], gpus], free.slot_model[rows[at], gpus]
            change = (
                self._tables[kind, (old - demand.gpu_milli) // self._grain] - self._tables[kind, old // self._grain]
            )
            after: Ints = (worth[at] + change + sold[at]).min(axis=1)
            return after - before[at]
        if demand.gpu_count:
            model = free.slot_model[rows, usable.argmax(axis=1)]
            worth = worth - demand.gpu_count * self._tables[model, WHOLE_GPU_MILLI // self._grain]
        after = (worth + sold).min(axis=1)
        return after - before

    def _bring_up_to_date(self, free: Free, rows: Ints) -> None:
        missing = free.changed_at.size - self._before.size
        if missing:
            self._worth = np.pad(self._worth, ((0, missing), (0, 0)))
            self._before = np.pad(self._before, (0, missing))
            self._made_at = np.pad(self._made_at, (0, missing), constant_values=-1)
        old = rows[self._made_at[rows] != free.changed_at[rows]]
        if old.size:
            worth: Ints = self._tables[free.slot_model[old], free.gpu_free[old] // self._grain].sum(axis=1)
            self._worth[old] = worth
            self._before[old] = (worth + free.cpu_free[old][:, None] * self._prices).min(axis=1)
            self._made_at[old] = free.changed_at[old]

    def steps(self, change: Ints) -> Ints:
        """A change in steps: differences within one are ties."""
        steps: Ints = (change + _STEP_SLACK) // self._step
        return steps


def node_value(
    tasks: list[Task],
    models: tuple[str, ...],
    terms: ValueTerms | None = None,
    values: Mapping[int, float] | None = None,
) -> ScoredPolicy:
    """Node value for tasks like these: their classes are what it expects of the future, not their order."""
    return ScoredPolicy(NodeValueScorer(count_classes(tasks), models, terms or ValueTerms(), values))
