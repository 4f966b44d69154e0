"""Node value: a task goes where the node loses least of what it could still be worth.

A node is worth what the expected tasks could at most make of its free shares, with its free cores sold at the price at
which that is least (the Lagrangian bound of packing cores and shares together). The tables of the best use of one GPU
are made once for each GPU model and price of a core, so a score is a few additions.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from control_plane.fleet.placement.packing.classes import TaskClass, count_classes
from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI, Demand, Task
from control_plane.fleet.placement.packing.policy import ScoredPolicy, first_best_gpu
from control_plane.fleet.placement.packing.share_values import share_values
from control_plane.fleet.placement.packing.state import ClusterState, Ints

NANO = 1_000_000_000  # values in billionths of a GPU: whole numbers, so equal values are equal
Floats: TypeAlias = npt.NDArray[np.float64]


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


def uses_of(classes: tuple[TaskClass, ...], model: str, terms: ValueTerms) -> tuple[Use, ...]:
    """The uses of a GPU of this model by the classes that are common enough."""
    total = sum(kind.count for kind in classes)
    wanted: dict[int, int] = {}
    for kind in classes:
        share = kind.demand.gpu_milli
        wanted[share] = wanted.get(share, 0) + kind.count * kind.demand.gpu_count
    values = share_values(wanted)
    return tuple(
        Use(
            kind.demand.gpu_milli,
            kind.demand.cpu_milli // kind.demand.gpu_count,
            round(values[kind.demand.gpu_milli] * NANO),
        )
        for kind in classes
        if kind.demand.gpu_count > 0 and kind.accepts(model) and kind.count * 1_000 >= terms.rare_permille * total
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
    """Scores by the change of a node's value, in steps; always 0 or less but for rounding."""

    def __init__(self, classes: tuple[TaskClass, ...], models: tuple[str, ...], terms: ValueTerms) -> None:
        """The expected classes, and the GPU models of the state it will score."""
        self._prices = core_prices(terms)
        self._grain = terms.grain_milli
        self._step = terms.step_milli * (NANO // 1_000)
        self._tables: Ints = np.stack(
            [best_uses(uses_of(classes, model, terms), self._prices, terms.grain_milli) for model in models]
        )

    def evaluate(self, state: ClusterState, rows: Ints, demand: Demand) -> tuple[Ints, Ints]:
        """Scores in steps of value lost (as negative numbers), and the first GPU with the best."""
        free, model = state.gpu_free[rows], state.model[rows]
        worth: Ints = self._tables[model[:, None], free // self._grain].sum(axis=1)
        cpu = state.cpu_free[rows]
        before = (worth + cpu[:, None] * self._prices).min(axis=1)
        sold = (cpu - demand.cpu_milli)[:, None] * self._prices
        if demand.shared:
            at, gpus = np.nonzero(free >= demand.gpu_milli)
            old, kind = free[at, gpus], model[at]
            change = (
                self._tables[kind, (old - demand.gpu_milli) // self._grain] - self._tables[kind, old // self._grain]
            )
            after = (worth[at] + change + sold[at]).min(axis=1)
            return first_best_gpu(self._steps(after - before[at]), at, gpus, free.shape)
        taken = demand.gpu_count
        whole = self._tables[model, WHOLE_GPU_MILLI // self._grain]
        after = (worth - taken * whole + sold).min(axis=1)
        return self._steps(after - before), np.zeros(rows.size, dtype=np.int64)

    def _steps(self, change: Ints) -> Ints:
        steps: Ints = (change + _STEP_SLACK) // self._step
        return steps


def node_value(tasks: list[Task], models: tuple[str, ...], terms: ValueTerms | None = None) -> ScoredPolicy:
    """Node value for tasks like these: their classes are what it expects of the future, not their order."""
    return ScoredPolicy(NodeValueScorer(count_classes(tasks), models, terms or ValueTerms()))
