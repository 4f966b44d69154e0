"""Rehearsal: what shares of GPUs are worth, tried out on arrivals drawn from the list itself.

Node value takes the worth of a share from cutting whole GPUs without waste, which is where a fleet would be if it could
choose. Which task comes when, it cannot; so the worths are shifted a little at a time, and a shift stays if more of
the cluster is allocated, in the mean of what the protocol tells. What is tried is made from the list and the nodes
alone, with orders of arrival of its own: nothing is known of the orders that are measured.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeAlias

from control_plane.fleet.placement.packing.classes import count_classes
from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI, Task
from control_plane.fleet.placement.packing.node_value import values_of
from control_plane.fleet.placement.packing.share_values import simple_share_values

Values: TypeAlias = Mapping[int, float]
"""The value of each share size in milli, as a part of a GPU."""

ORDERS: Final = tuple(range(9_000_001, 9_000_005))
"""Seeds of the orders that are rehearsed; no measurement may use them."""
_SHIFTS: Final = (-0.08, -0.04, -0.02, 0.02, 0.04, 0.08)
_SHARES_SHIFTED: Final = 12  # the shares that most of the list's part GPUs are asked for in
_NEAR_MILLI: Final = 20  # shares that hardly differ may be shifted together
_AT_ONCE: Final = 2  # candidates between two decisions; the result hangs on it, so it is not the number of cores
_MAY_TRAIL: Final = (0.05, 0.03)
"""By how many points, over the orders replayed so far, a candidate may be behind and go on."""


class Replay(Protocol):
    """Replays one order of arrivals."""

    def __call__(self, seed: int, values: Values, /) -> float:
        """Return the percent of the GPUs that is allocated."""
        ...


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of it: the values, and the percent of each of ORDERS with them."""

    values: Values
    percents: tuple[float, ...]


def rehearse(tasks: Iterable[Task], replay: Replay, pool: Executor, tries: int) -> Rehearsed:
    """Look for better values than the computed ones, `tries` times. `replay` must be of a module, for processes."""
    wanted: Counter[int] = Counter()
    classes = count_classes(tasks)
    for kind in classes:
        wanted[kind.demand.gpu_milli] += kind.count * kind.demand.gpu_count
    firsts = [values_of(classes), values_of(classes) | simple_share_values(wanted)]
    best = max(pool.map(partial(_go, replay, ()), firsts), key=lambda one: sum(one.percents))
    shares = sorted(share for share in wanted if 0 < share < WHOLE_GPU_MILLI)
    dice = random.Random(1)
    for _ in range(-(-tries // _AT_ONCE) if shares else 0):
        candidates = [_shifted(best.values, shares, wanted, dice) for _ in range(_AT_ONCE)]
        found = pool.map(partial(_go, replay, best.percents), candidates)
        best = max((best, *found), key=lambda one: (len(one.percents), sum(one.percents)))
    return best


def _shifted(values: Values, shares: Sequence[int], wanted: Mapping[int, int], dice: random.Random) -> Values:
    common = sorted(shares, key=lambda share: (-wanted[share] * share, share))[:_SHARES_SHIFTED]
    chosen = dice.choices(common, [wanted[share] ** 0.5 for share in common])[0]
    shift, reach = dice.choice(_SHIFTS), dice.choice((0, _NEAR_MILLI))
    return {
        share: min(1.0, max(0.0, value + shift)) if share in shares and abs(share - chosen) <= reach else value
        for share, value in values.items()
    }


def _go(replay: Replay, to_beat: Sequence[float], values: Values) -> Rehearsed:
    """Replay order after order until it shows that these values are no better; then not all percents are there."""
    percents: list[float] = []
    for number, seed in enumerate(ORDERS):
        percents.append(replay(seed, values))
        trails = sum(to_beat[: number + 1]) - sum(percents) if to_beat else 0.0
        if trails > (_MAY_TRAIL[number] if number < len(_MAY_TRAIL) else 0.0):
            break
    return Rehearsed(values, tuple(percents))
