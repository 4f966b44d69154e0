from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.lifecycle import ACTION, ALLOCATION, GOAL, JOB, NODE, Lifecycle, LifecycleError
from control_plane.model.action import ActionState
from control_plane.model.goal import GoalState
from control_plane.model.job import AllocationState, JobState
from control_plane.model.node import NodeState

STATES: list[tuple[Lifecycle[Any], type[Enum]]] = [  # Any: lifecycles of different nouns
    (GOAL, GoalState),
    (JOB, JobState),
    (ALLOCATION, AllocationState),
    (NODE, NodeState),
    (ACTION, ActionState),
]


@pytest.mark.parametrize(("lifecycle", "states"), STATES)
def test_only_states_of_the_noun_are_in_its_table(lifecycle: Lifecycle[Any], states: type[Enum]) -> None:
    for before, following in lifecycle.transitions.items():
        assert isinstance(before, states)
        assert all(isinstance(after, states) for after in following)
        assert before not in following


@pytest.mark.parametrize(("lifecycle", "states"), STATES[:3])
def test_every_state_can_reach_an_end_and_no_end_can_be_left(lifecycle: Lifecycle[Any], states: type[Enum]) -> None:
    ends = {state for state in states if not lifecycle.transitions.get(state)}
    assert ends == {state for state in states if getattr(state, "ended", state is AllocationState.ENDED)}
    for start in states:
        reached, waiting = {start}, [start]
        while waiting:
            for after in lifecycle.transitions.get(waiting.pop(), frozenset()):
                if after not in reached:
                    reached.add(after)
                    waiting.append(after)
        assert reached & ends


@given(st.sampled_from(STATES), st.data())
def test_no_sequence_of_changes_leaves_the_table(noun: tuple[Lifecycle[Any], type[Enum]], data: st.DataObject) -> None:
    lifecycle, states = noun
    state = data.draw(st.sampled_from(list(states)))
    for wanted in data.draw(st.lists(st.sampled_from(list(states)), max_size=20)):
        if wanted in lifecycle.transitions.get(state, frozenset()):
            lifecycle.check(state, wanted)
            state = wanted
        else:
            with pytest.raises(LifecycleError):
                lifecycle.check(state, wanted)
