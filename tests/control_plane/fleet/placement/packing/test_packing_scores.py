"""Scores made with arrays equal the same rules written plainly, on any state of any cluster."""

import math

import numpy as np
import pytest
from hypothesis import given, settings

from control_plane.fleet.placement.packing.baselines import BestFitScorer, RandomPolicy
from control_plane.fleet.placement.packing.classes import TaskClass, count_classes, covering
from control_plane.fleet.placement.packing.fgd import FgdScorer
from control_plane.fleet.placement.packing.model import Demand, Node, Task
from control_plane.fleet.placement.packing.node_value import (
    NodeValueScorer,
    Use,
    ValueTerms,
    core_prices,
    uses_of,
    values_of,
)
from control_plane.fleet.placement.packing.policy import ScoredPolicy, Scorer, place_all
from control_plane.fleet.placement.packing.share_values import share_values, simple_share_values
from control_plane.fleet.placement.packing.state import ClusterState
from tests.control_plane.fleet.placement.packing.packing_cases import nodes, task_lists

TERMS = ValueTerms(prices=4)


def after(free: list[int], demand: Demand, gpu: int) -> list[int]:
    left = list(free)
    if demand.shared:
        left[gpu] -= demand.gpu_milli
    else:
        for number in [number for number, milli in enumerate(free) if milli == 1_000][: demand.gpu_count]:
            left[number] = 0
    return left


def fragments(classes: tuple[TaskClass, ...], model: str, cpu: int, free: list[int]) -> int:
    total = 0
    for kind in classes:
        share, count = kind.demand.gpu_milli, kind.demand.gpu_count
        enough = sum(milli >= share for milli in free) >= count
        runs = count > 0 and kind.accepts(model) and cpu >= kind.demand.cpu_milli and enough
        total += kind.count * sum(milli for milli in free if not runs or milli < share)
    return total


def best_use(room: int, uses: tuple[Use, ...], price: int, known: dict[int, int]) -> int:
    if room not in known:
        choices = [
            best_use(room - use.share_milli, uses, price, known) + use.value_nano - price * use.cpu_milli
            for use in uses
            if use.share_milli <= room
        ]
        known[room] = max([0, *choices])
    return known[room]


def worth(classes: tuple[TaskClass, ...], model: str, cpu: int, free: list[int]) -> int:
    uses = tuple(
        Use(-(-use.share_milli // 10) * 10, use.cpu_milli, use.value_nano)
        for use in uses_of(classes, model, TERMS, values_of(classes))
    )
    totals: list[int] = []
    for price in core_prices(TERMS).tolist():
        known: dict[int, int] = {}
        totals.append(sum(best_use(milli // 10 * 10, uses, price, known) for milli in free) + price * cpu)
    return min(totals)


def plain_score(
    name: str, classes: tuple[TaskClass, ...], node: Node, cpu: int, free: list[int], gpu: int, demand: Demand
) -> int:
    left, cpu_left = after(free, demand, gpu), cpu - demand.cpu_milli
    if name == "bestfit":
        return (256_000 - cpu_left - 16 * sum(left)) // 2_560
    if name == "fgd":
        scale = 1_000 * sum(kind.count for kind in classes)
        less = fragments(classes, node.gpu_model, cpu, free) - fragments(classes, node.gpu_model, cpu_left, left)
        return math.floor(100 / (1 + math.exp(-less / scale)))
    change = worth(classes, node.gpu_model, cpu_left, left) - worth(classes, node.gpu_model, cpu, free)
    return (change + 1_000) // (40 * 1_000_000)


@pytest.mark.parametrize("name", ["bestfit", "fgd", "value"])
@settings(max_examples=25, deadline=None)
@given(cluster=nodes(), coming=task_lists(20))
def test_a_score_is_what_the_plain_rule_gives(name: str, cluster: list[Node], coming: list[Task]) -> None:
    state = ClusterState(cluster)
    place_all(state, RandomPolicy(3), coming[1:])
    classes = count_classes(coming)
    if name == "fgd":
        classes = covering(classes, 95)
    scorers: dict[str, Scorer] = {
        "bestfit": BestFitScorer(),
        "fgd": FgdScorer(classes, state.models),
        "value": NodeValueScorer(classes, state.models, TERMS),
    }
    demand = coming[0].demand
    rows = np.flatnonzero(state.fits(np.arange(len(cluster)), demand))
    scores, gpus = scorers[name].evaluate(state, rows, demand, state.usable(rows, demand))
    for row, score, gpu in zip(rows.tolist(), scores.tolist(), gpus.tolist(), strict=True):
        free, cpu = state.gpu_free[row][: cluster[row].gpu_count].tolist(), int(state.cpu_free[row])
        room = [number for number, milli in enumerate(free) if demand.shared and milli >= demand.gpu_milli] or [0]
        plain = [plain_score(name, classes, cluster[row], cpu, free, number, demand) for number in room]
        assert score == max(plain)
        first = min(room, key=lambda number: free[number]) if name == "bestfit" and demand.shared else None
        assert gpu == (room[plain.index(max(plain))] if first is None else first)


@settings(max_examples=25, deadline=None)
@given(cluster=nodes(), coming=task_lists())
def test_scores_that_are_kept_equal_scores_made_afresh(cluster: list[Node], coming: list[Task]) -> None:
    state = ClusterState(cluster)
    scorer = NodeValueScorer(count_classes(coming), state.models, TERMS)
    kept = ScoredPolicy(scorer)
    for number, task in enumerate(coming):
        assignment = kept.choose(state, task)
        assert assignment == ScoredPolicy(scorer).choose(state, task)
        if assignment is not None:
            state.take(task, assignment)
            if number % 3 == 0:
                state.give_back(task, assignment)


def test_share_values_are_the_prices_of_cutting() -> None:
    values = share_values({160: 10, 320: 328, 470: 750, 650: 253, 810: 1_078, 1_000: 4_000})
    expected = {160: 0, 320: 1 / 3, 470: 1 / 2, 650: 2 / 3, 810: 1, 1_000: 1}
    assert values == pytest.approx(expected, abs=1e-9)


def test_shares_that_nobody_asks_for_have_no_value() -> None:
    assert share_values({}) == {}
    assert share_values({0: 5, 500: 0}) == {}
    assert simple_share_values({300: 1, 810: 2}) == pytest.approx({300: 1 / 3, 810: 1})


def test_rare_classes_and_refused_models_are_not_expected() -> None:
    common, rare = Task(Demand(1_000, 1, 500), 0, frozenset({"A"})), Task(Demand(1_000, 1, 250), 0)
    classes = count_classes([common] * 999 + [rare])
    assert [use.share_milli for use in uses_of(classes, "A", TERMS, values_of(classes))] == [500]
    assert uses_of(classes, "B", TERMS, values_of(classes)) == ()
