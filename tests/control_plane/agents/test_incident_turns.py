"""Whose turn it is: those that have failed come first, all of many are taken out first, and nobody waits for ever."""

from control_plane.agents.incidents.turns import Turn, Turns
from control_plane.model.ids import NodeId
from control_plane.urgency import STORM


def ids(number: int, name: str = "n") -> list[NodeId]:
    return [NodeId(f"{name}-{index}") for index in range(number)]


def failed(number: int) -> Turns:
    turns = Turns()
    for node_id in ids(number):
        turns.failed(node_id)
    return turns


def test_a_few_are_looked_at_at_once() -> None:
    turns = failed(STORM - 1)
    assert turns.next(0.0) == (Turn.LOOK, ids(STORM - 1))
    turns.begin(ids(STORM - 1))
    assert not turns


def test_those_that_have_failed_come_before_those_that_are_followed() -> None:
    turns = failed(2)
    turns.follow(ids(1, "old"))
    assert turns.next(0.0) == (Turn.LOOK, ids(2))
    turns.begin(ids(2))
    assert turns.next(0.0) == (Turn.LOOK, ids(1, "old"))


def test_those_that_are_followed_wait_three_seconds_and_no_longer() -> None:
    turns = failed(2)
    turns.follow(ids(1, "old"))
    turns.next(0.0)
    assert turns.next(2.9) == (Turn.LOOK, ids(2))
    assert turns.next(3.0) == (Turn.LOOK, ids(1, "old"))
    assert turns.next(3.1) == (Turn.LOOK, ids(2))


def test_many_are_taken_out_before_any_is_treated() -> None:
    turns = failed(300)
    taken = []
    for _ in range(2):
        turn, node_ids = turns.next(0.0)
        assert turn is Turn.TAKE_OUT
        taken += node_ids
        for node_id in node_ids:
            turns.taken_out(node_id, (), 0.0)
    assert taken == ids(300)
    turn, node_ids = turns.next(0.0)
    assert turn is Turn.TREAT
    assert turns.begin(node_ids) == dict.fromkeys(node_ids, ())
    assert not any(map(turns.is_out, node_ids))


def test_more_that_fail_meanwhile_are_taken_out_first_but_not_for_ever() -> None:
    turns = Turns()
    turns.taken_out(NodeId("out"), (), 0.0)
    turns.failed(NodeId("late"))
    assert turns.next(0.9) == (Turn.TAKE_OUT, [NodeId("late")])
    assert turns.next(1.0) == (Turn.TREAT, [NodeId("out")])


def test_those_that_are_out_wait_for_more_that_are_being_written_but_not_for_ever() -> None:
    turns = Turns()
    turns.taken_out(NodeId("out"), (), 0.0)
    assert turns.next(0.9, more_to_come=True) == (Turn.WAIT, [])
    assert turns.next(0.9) == (Turn.TREAT, [NodeId("out")])
    turns.taken_out(NodeId("out"), (), 0.0)
    assert turns.next(2.0, more_to_come=True) == (Turn.TREAT, [NodeId("out")])
