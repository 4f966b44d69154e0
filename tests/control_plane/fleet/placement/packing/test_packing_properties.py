"""What holds for every policy on any cluster."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.fleet.placement.packing.baselines import RandomPolicy, best_fit
from control_plane.fleet.placement.packing.blend import BlendScorer
from control_plane.fleet.placement.packing.classes import count_classes
from control_plane.fleet.placement.packing.fgd import fgd
from control_plane.fleet.placement.packing.model import Assignment, Demand, Node, Task
from control_plane.fleet.placement.packing.node_value import ValueTerms, node_value
from control_plane.fleet.placement.packing.policy import Policy, ScoredPolicy, place_all
from control_plane.fleet.placement.packing.state import ClusterState, OverCommitError
from tests.control_plane.fleet.placement.packing.packing_cases import nodes, task_lists

MAKERS: dict[str, Callable[[list[Task], ClusterState], Policy]] = {
    "bestfit": lambda _tasks, _state: best_fit(),
    "random": lambda _tasks, _state: RandomPolicy(7),
    "fgd": lambda tasks, state: fgd(tasks, state.models),
    "value": lambda tasks, state: node_value(tasks, state.models),
    "blend": lambda tasks, state: ScoredPolicy(BlendScorer(count_classes(tasks), state.models, ValueTerms())),
}
every_policy = pytest.mark.parametrize("name", sorted(MAKERS))


@every_policy
@settings(max_examples=25, deadline=None)
@given(cluster=nodes(), coming=task_lists())
def test_nothing_is_over_committed_and_models_are_kept(name: str, cluster: list[Node], coming: list[Task]) -> None:
    state = ClusterState(cluster)
    placed = place_all(state, MAKERS[name](coming, state), coming)
    for number, node in enumerate(cluster):
        here = [(task, at) for task, at in zip(coming, placed, strict=True) if at is not None and at.node == number]
        assert sum(task.demand.cpu_milli for task, _ in here) <= node.cpu_milli
        assert sum(task.memory_mib for task, _ in here) <= node.memory_mib
        shares = [0] * node.gpu_count
        for task, at in here:
            assert len(set(at.gpus)) == task.demand.gpu_count
            assert not task.gpu_models or node.gpu_model in task.gpu_models
            for gpu in at.gpus:
                shares[gpu] += task.demand.gpu_milli
        assert max(shares, default=0) <= 1_000


@every_policy
@settings(max_examples=15, deadline=None)
@given(cluster=nodes(), coming=task_lists())
def test_a_task_is_refused_only_where_no_node_has_room(name: str, cluster: list[Node], coming: list[Task]) -> None:
    state = ClusterState(cluster)
    policy = MAKERS[name](coming, state)
    for task in coming:
        assignment = policy.choose(state, task)
        fits = state.admits(task) & state.fits(np.arange(len(cluster)), task.demand)
        assert (assignment is not None) == bool(fits.any())
        if assignment is not None:
            state.take(task, assignment)


@every_policy
@settings(max_examples=15, deadline=None)
@given(cluster=nodes(), coming=task_lists())
def test_the_same_input_gives_the_same_placements(name: str, cluster: list[Node], coming: list[Task]) -> None:
    first, second = ClusterState(cluster), ClusterState(cluster)
    once = place_all(first, MAKERS[name](coming, first), coming)
    assert once == place_all(second, MAKERS[name](coming, second), coming)


@settings(max_examples=25, deadline=None)
@given(cluster=nodes(), coming=task_lists(), keys=st.integers(0, 2**32 - 1))
def test_departures_leave_the_cluster_as_it_was(cluster: list[Node], coming: list[Task], keys: int) -> None:
    state, empty = ClusterState(cluster), ClusterState(cluster)
    placed = place_all(state, node_value(coming, state.models), coming)
    for number in np.random.default_rng(keys).permutation(len(coming)):
        assignment = placed[number]
        if assignment is not None:
            state.give_back(coming[number], assignment)
    assert (state.gpu_free == empty.gpu_free).all()
    assert (state.cpu_free == empty.cpu_free).all()
    assert (state.memory_free == empty.memory_free).all()
    assert (state.largest_free == empty.largest_free).all()
    assert (state.whole_free == empty.whole_free).all()


def test_over_commitment_is_refused_and_changes_nothing() -> None:
    state = ClusterState([Node("n", 4_000, 8_192, 2, "A")])
    share = Task(Demand(1_000, 1, 600), 1_024)
    state.take(share, Assignment(0, (1,)))
    for task, gpus in (
        (share, (1,)),  # the share
        (share, (2,)),  # a GPU that is not there
        (Task(Demand(1_000, 2, 1_000), 1_024), (0, 1)),  # whole GPUs
        (Task(Demand(3_500, 0, 0), 0), ()),  # CPU
        (Task(Demand(0, 0, 0), 7_169), ()),  # memory
    ):
        with pytest.raises(OverCommitError):
            state.take(task, Assignment(0, gpus))
    with pytest.raises(OverCommitError):
        state.give_back(share, Assignment(0, (0,)))
    assert state.sequence == 1
    assert state.allocated_milli == 600


@pytest.mark.parametrize("demand", [Demand(-1, 0, 0), Demand(0, 0, 5), Demand(0, 1, 1_001), Demand(0, 2, 500)])
def test_a_task_that_makes_no_sense_is_refused(demand: Demand) -> None:
    with pytest.raises(ValueError, match=r"task|gpu_milli"):
        Task(demand, 0)
