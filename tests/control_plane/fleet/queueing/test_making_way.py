"""Who makes way for whom."""

from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.fleet.queueing.model import QueueTerms, WaitingJob
from control_plane.model.job import JobPriority, ResourceRequest
from control_plane.model.team import Team
from tests.control_plane.fleet.queueing.rooms import NOW, host, hosts, waiting
from tests.control_plane.fleet.queueing.world import World

pytestmark = pytest.mark.usefixtures("room_type")

AT_ONCE = QueueTerms(min_runtime_seconds=0)


def _full(world: World, count: int, gpus: int = 1, **rest: object) -> None:
    world.submit(*(replace(waiting(f"old-{number}", gpus), **rest) for number in range(count)))  # type: ignore[arg-type]  # the test names fields
    world.step()
    world.wait(60)


def test_a_higher_priority_makes_the_cheapest_lower_one_make_way() -> None:
    world = World(hosts(1, 2), terms=AT_ONCE)
    world.submit(waiting("long", priority=JobPriority.LOW))
    world.step()
    world.wait(600)
    world.submit(waiting("fresh", priority=JobPriority.LOW))
    world.step()
    world.wait(60)
    world.submit(waiting("urgent", priority=JobPriority.URGENT))
    [one] = world.step().preemptions
    assert (one.job_id, one.for_job_id) == ("fresh", "urgent")
    assert "its priority is urgent" in one.reason


def test_nobody_makes_way_for_an_equal_however_long_that_waits() -> None:
    world = World(hosts(1, 1), terms=AT_ONCE)
    _full(world, 1)
    world.submit(waiting("aged", queued_at=NOW - timedelta(days=9)))
    assert not world.step().preemptions


def test_nobody_makes_way_before_his_time_is_up() -> None:
    world = World(hosts(1, 1), terms=QueueTerms(min_runtime_seconds=600))
    _full(world, 1)
    world.submit(waiting("urgent", priority=JobPriority.URGENT))
    assert not world.step().preemptions
    world.wait(600)
    assert len(world.step().preemptions) == 1


def test_nobody_makes_way_if_the_job_would_not_fit_even_then() -> None:
    world = World(hosts(2, 2), terms=AT_ONCE)
    world.submit(waiting("low", 1, priority=JobPriority.LOW), waiting("peer", 1, priority=JobPriority.URGENT))
    world.step()
    world.submit(waiting("other", 2, priority=JobPriority.URGENT))
    world.step()
    world.wait(60)
    world.submit(waiting("whole", 2, nodes=1, priority=JobPriority.URGENT))
    assert not world.step().preemptions


def test_those_who_stop_already_are_waited_for() -> None:
    world = World(hosts(1, 1), terms=AT_ONCE)
    _full(world, 1)
    world.submit(waiting("urgent", priority=JobPriority.URGENT))
    assert len(world.step().preemptions) == 1
    assert not world.step().preemptions
    world.stop_all()
    assert world.placed() == ["urgent"]


def test_freed_room_goes_to_whom_it_was_freed_for() -> None:
    world = World(hosts(1, 1), [Team("a", guaranteed_gpus=1)], terms=AT_ONCE)
    _full(world, 1, team="b")
    world.submit(waiting("mine", team="a"))
    assert len(world.step().preemptions) == 1
    world.submit(waiting("urgent", team="b", priority=JobPriority.URGENT))
    world.stop_all()
    assert world.placed() == ["mine"]


def test_a_borrower_gives_back_as_much_as_is_guaranteed_and_no_more() -> None:
    world = World(hosts(1, 8), [Team("a", guaranteed_gpus=4), Team("b", guaranteed_gpus=4)], terms=AT_ONCE)
    _full(world, 8, team="b")
    world.submit(*(waiting(f"mine-{number}", team="a") for number in range(8)))
    assert len(world.step().preemptions) == 4
    world.stop_all()
    assert len(world.placed()) == 4
    world.wait(60)
    assert not world.step().preemptions


def test_what_is_within_a_guarantee_is_safe_from_other_teams() -> None:
    world = World(hosts(1, 2), [Team("a", guaranteed_gpus=2)], terms=AT_ONCE)
    _full(world, 2, team="a")
    world.submit(waiting("urgent", team="b", priority=JobPriority.URGENT))
    assert not world.step().preemptions
    world.submit(waiting("inside", team="a", priority=JobPriority.HIGH))
    [one] = world.step().preemptions
    assert one.for_job_id == "inside"


def test_a_limit_that_is_reached_is_made_room_in_by_the_team_itself() -> None:
    world = World(hosts(1, 8), [Team("a", max_gpus=2)], terms=AT_ONCE)
    _full(world, 2, team="a", priority=JobPriority.LOW)
    world.submit(waiting("stranger", priority=JobPriority.LOW))
    world.step()
    world.wait(60)
    world.submit(waiting("urgent", team="a", priority=JobPriority.URGENT))
    [one] = world.step().preemptions
    assert one.job_id.startswith("old")


def test_a_gang_makes_as_few_make_way_as_it_needs() -> None:
    world = World(hosts(2, 4), terms=AT_ONCE)
    _full(world, 8, priority=JobPriority.LOW)
    world.submit(waiting("gang", 4, nodes=1, priority=JobPriority.HIGH))
    decision = world.step()
    assert len(decision.preemptions) == 4
    world.stop_all()
    assert world.placed() == ["gang"]


def test_room_that_a_promise_takes_from_one_job_is_kept_for_the_next_though_that_was_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if many waited: hopeless groups are set aside at once."""
    monkeypatch.setattr("control_plane.fleet.queueing.round._PATIENCE", 0)
    monkeypatch.setattr("control_plane.fleet.queueing.round._LEAST_PATIENCE", 1)
    first, second = host(0, 2, side="left"), host(1, 2, side="right")
    world = World([first, second], terms=replace(AT_ONCE, aging_seconds=3600), most_kept=1)

    def wants(name: str, gpus: int, side: str, priority: JobPriority, hours: float, runtime: int = 0) -> WaitingJob:
        resources = ResourceRequest(gpu_count=gpus, node_count=1, node_labels=(("side", side),))
        since = NOW - timedelta(hours=hours)
        return waiting(name, priority=priority, resources=resources, queued_at=since, runtime=runtime)

    world.submit(
        wants("left-runs", 2, "left", JobPriority.NORMAL, 0),
        wants("right-runs", 1, "right", JobPriority.NORMAL, 0, 900),
    )
    world.step()
    world.wait(60)
    world.submit(
        wants("aged", 2, "left", JobPriority.LOW, 2.9),  # room is kept for it, and for nobody else
        wants("urgent", 2, "left", JobPriority.HIGH, 0.1),  # takes that room
        wants("next", 2, "right", JobPriority.LOW, 1.5),  # was not worth a turn before
        wants("small", 1, "right", JobPriority.LOW, 1.0),  # would delay it
    )
    decision = world.step()
    assert [one.for_job_id for one in decision.preemptions] == ["urgent"]
    assert decision.placements == ()
