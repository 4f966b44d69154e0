"""A rehearsal finds values that pack more, keeps none that pack less, and comes to the same end again."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.packing import parse_seeds
from bench.packing_protocol import OURS, replay
from bench.packing_rehearsal import ORDERS, Rehearsed, Values, rehearse
from control_plane.fleet.placement.packing.classes import count_classes
from control_plane.fleet.placement.packing.model import Demand, Node, Task
from control_plane.fleet.placement.packing.node_value import values_of

TASKS = [
    Task(Demand(1_000, 1, milli), 1_024)
    for milli, copies in ((810, 10), (650, 6), (470, 12), (320, 8), (230, 4), (1_000, 20))
    for _ in range(copies)
]


def best_at_650(_seed: int, values: Values) -> float:
    return 90.0 - abs(values[650] - 0.75)


def run(tries: int) -> Rehearsed:
    with ThreadPoolExecutor(1) as pool:
        return rehearse(TASKS, best_at_650, pool, tries)


def test_a_rehearsal_moves_towards_what_packs_more_and_never_away_from_it() -> None:
    totals = [sum(run(tries).percents) for tries in (0, 10, 60)]
    assert totals == sorted(totals)
    assert totals[-1] > totals[0]


def test_without_tries_the_better_of_the_computed_values_is_taken() -> None:
    found = run(0)
    assert found.values[650] in {values_of(count_classes(TASKS))[650], 1.0}
    assert len(found.percents) == len(ORDERS)


def test_the_same_list_gives_the_same_values() -> None:
    assert run(20) == run(20)


def test_values_stay_between_nothing_and_a_whole_gpu_which_is_always_worth_one() -> None:
    values = run(60).values
    assert all(0 <= value <= 1 for value in values.values())
    assert values[1_000] == 1


def test_a_list_of_whole_gpus_has_nothing_to_rehearse() -> None:
    whole = [Task(Demand(1_000, 1, 1_000), 1_024)]
    with ThreadPoolExecutor(1) as pool:
        assert rehearse(whole, lambda _seed, _values: 50.0, pool, 10).values == {1_000: 1.0}


def test_what_is_rehearsed_decides_where_tasks_go() -> None:
    nodes = [Node(f"n{number}", 96_000, 786_432, 8, "G2") for number in range(4)]
    computed = values_of(count_classes(TASKS))
    worthless = dict.fromkeys(computed, 0.0)
    assert replay(nodes, TASKS, OURS, 3, values=computed).allocated == replay(nodes, TASKS, "plain", 3).allocated
    assert replay(nodes, TASKS, OURS, 3, values=worthless).allocated != replay(nodes, TASKS, "plain", 3).allocated


def test_orders_that_are_rehearsed_are_not_measured() -> None:
    with pytest.raises(Exception, match="are rehearsed"):
        parse_seeds(str(ORDERS[0]))
