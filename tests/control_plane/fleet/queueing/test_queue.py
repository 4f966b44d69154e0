"""The queue: order, gangs, kept room, backfill."""

from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.fleet.queueing.model import QueueOrder, QueueTerms
from control_plane.model.ids import JobId, UserId
from control_plane.model.job import JobPriority, ResourceRequest
from control_plane.model.team import Team
from tests.control_plane.fleet.queueing.rooms import NOW, host, hosts, waiting
from tests.control_plane.fleet.queueing.world import World

pytestmark = pytest.mark.usefixtures("room_type")


def test_a_higher_priority_starts_first() -> None:
    world = World(hosts(1, 1))
    world.submit(waiting("a"), waiting("b", priority=JobPriority.HIGH))
    assert world.placed() == ["b"]


def test_a_job_climbs_one_priority_for_each_aging_period() -> None:
    world = World(hosts(1, 1), terms=QueueTerms(aging_seconds=3600))
    world.submit(waiting("new", priority=JobPriority.HIGH, user="bob"))
    world.submit(waiting("old", queued_at=NOW - timedelta(hours=2)))
    assert world.placed() == ["old"]


@pytest.mark.parametrize("order", list(QueueOrder))
def test_jobs_that_change_their_priority_or_team_while_they_age_keep_one_place_each(order: QueueOrder) -> None:
    world = World(hosts(1, 1), terms=QueueTerms(order=order, aging_seconds=60, preemption=False))
    world.submit(waiting("running"))
    world.step()
    jobs = [waiting(f"j{number}", user=f"u{number}", priority=JobPriority.HIGH, team="a") for number in range(8)]
    world.submit(*jobs)
    world.step()
    world.wait(61)
    world.submit(*(replace(job, priority=JobPriority.NORMAL) for job in jobs))  # to the level that they were on
    world.step()
    world.submit(*(replace(job, priority=JobPriority.NORMAL, team="b") for job in jobs))
    world.step()
    world.end("running")
    assert world.placed() == ["j0"]
    assert len(world.queue.standings(world.room, (), {}, now=world.now)) == len(jobs) - 1


def test_a_gang_starts_whole_or_not_at_all() -> None:
    world = World(hosts(2, 8))
    world.submit(waiting("one", 1), waiting("gang", 16, nodes=2))
    assert world.placed() == ["one"]
    world.end("one")
    [placed] = world.step().placements
    assert placed.job_id == "gang"
    assert [len(part.gpu_uuids) for part in placed.placements] == [8, 8]


def test_a_job_that_waits_for_others_is_passed_over_until_they_have_succeeded() -> None:
    world = World(hosts(1, 1))
    world.submit(waiting("after", waits_for=(JobId("before"),)))
    assert world.placed() == []
    world.submit(waiting("after"))
    assert world.placed() == ["after"]


def test_a_job_that_was_held_back_is_passed_over_this_time_only() -> None:
    world = World(hosts(1, 1))
    world.submit(waiting("a"), waiting("b"))
    held = world.queue.decide(world.room, (), {}, now=NOW, held_back={JobId("a"): "over budget"})
    assert [one.job_id for one in held.placements] == ["b"]
    assert world.placed() == ["a"]


def test_without_backfill_nobody_starts_before_one_that_does_not_fit_yet() -> None:
    world = World(hosts(1, 8), terms=QueueTerms(backfill=False))
    world.submit(waiting("first", 4, runtime=3600))
    world.step()
    world.submit(waiting("large", 8), waiting("small", 1, runtime=60))
    assert world.placed() == []


def test_a_job_that_surely_ends_before_the_kept_room_is_needed_fills_the_gap() -> None:
    world = World(hosts(1, 8))
    world.submit(waiting("first", 4, runtime=7200))
    world.step()
    world.submit(waiting("large", 8), waiting("long", 1, runtime=8000), waiting("endless", 1))
    world.submit(waiting("short", 1, runtime=3600))
    assert world.placed() == ["short"]


def test_a_job_that_does_not_end_in_time_may_use_what_the_kept_room_leaves() -> None:
    world = World(hosts(2, 8))
    world.submit(waiting("a", 6, runtime=7200), waiting("b", 6, runtime=7200))
    world.step()
    world.submit(waiting("large", 8), waiting("endless", 2), waiting("other", 2))
    assert world.placed() == ["endless"]  # one of the two hosts is kept for the large one


def test_a_kept_host_still_takes_what_leaves_enough_of_it() -> None:
    world = World(hosts(1, 8))
    world.submit(waiting("first", 4, runtime=7200))
    world.step()
    world.submit(waiting("large", 6), waiting("endless", 2), waiting("other", 1))
    assert world.placed() == ["endless"]


def test_room_is_kept_for_the_first_even_if_it_cannot_be_told_when_it_fits() -> None:
    world = World(hosts(1, 8))
    world.submit(waiting("first", 4))
    world.step()
    world.submit(waiting("large", 8), waiting("small", 1, runtime=60))
    assert world.placed() == []


def test_room_is_kept_for_one_behind_many_of_which_it_cannot_be_told_when_they_fit() -> None:
    world = World([host(0, 8, "A100"), host(1, 8, "H100")], most_kept=2)
    a100, h100 = ("A100",), ("H100",)
    world.submit(waiting("endless", resources=ResourceRequest(gpu_count=8, gpu_types=a100)))
    world.submit(waiting("ends", resources=ResourceRequest(gpu_count=4, gpu_types=h100), runtime=7200))
    assert len(world.placed()) == 2
    for gpus in range(8, 0, -1):
        world.submit(waiting(f"hopeless-{gpus}", resources=ResourceRequest(gpu_count=gpus, gpu_types=a100)))
    world.submit(waiting("large", resources=ResourceRequest(gpu_count=8, gpu_types=h100)))
    world.submit(waiting("small", resources=ResourceRequest(gpu_count=1, gpu_types=h100)))
    assert world.placed() == []


def test_a_job_that_no_host_could_ever_hold_keeps_nobody_waiting() -> None:
    world = World(hosts(1, 8), terms=QueueTerms(backfill=False))
    world.submit(waiting("huge", 16, nodes=1), waiting("small", 1))
    assert world.placed() == ["small"]


def test_first_in_first_out_looks_at_nothing_but_priority_and_time() -> None:
    world = World(hosts(1, 3), terms=QueueTerms(order=QueueOrder.FIFO))
    world.submit(*(waiting(f"ada-{number}", queued_at=NOW - timedelta(seconds=9 - number)) for number in range(3)))
    world.submit(waiting("bob", user="bob"))
    assert world.placed() == ["ada-0", "ada-1", "ada-2"]


def test_users_of_a_team_take_turns() -> None:
    world = World(hosts(1, 4))
    world.submit(*(waiting(f"ada-{number}", queued_at=NOW - timedelta(seconds=9 - number)) for number in range(4)))
    world.submit(waiting("bob-0", user="bob"), waiting("bob-1", user="bob"))
    assert world.placed() == ["ada-0", "bob-0", "ada-1", "bob-1"]


def test_a_user_holds_no_more_than_he_may() -> None:
    world = World(hosts(1, 8))
    world.user_limits[UserId("ada")] = 3
    world.submit(waiting("a", 2), waiting("b", 2), waiting("c", 1), waiting("d", 2, user="bob"))
    assert sorted(world.placed()) == ["a", "c", "d"]


@pytest.mark.parametrize("limited", ["research", "research/nlp"])
def test_a_team_holds_no_more_than_it_may_at_every_level(limited: str) -> None:
    world = World(hosts(1, 8), [Team(limited, max_gpus=2)])
    world.submit(*(waiting(f"job-{number}", team="research/nlp") for number in range(4)))
    assert len(world.placed()) == 2
    assert world.placed() == []


def test_a_part_of_a_gpu_counts_as_a_part_of_a_limit() -> None:
    world = World(hosts(1, 8), [Team("a", max_gpus=1)])
    half = ResourceRequest(gpu_count=1, gpu_milli=500)
    world.submit(*(waiting(f"job-{number}", team="a", resources=half) for number in range(3)))
    assert len(world.placed()) == 2


def test_weights_share_what_is_there() -> None:
    world = World(hosts(1, 6), [Team("a", weight=2.0), Team("b")])
    for number in range(6):
        world.submit(waiting(f"a-{number}", team="a"), waiting(f"b-{number}", team="b"))
    placed = world.placed()
    assert sum(name.startswith("a") for name in placed) == 4


def test_dominant_resource_fairness_gives_the_textbook_shares() -> None:
    """Ghodsi et al., NSDI 2011: 9 CPUs and 18 GB; tasks of (1 CPU, 4 GB) and (3 CPUs, 1 GB) get 3 and 2."""
    machine = replace(host(0, 0), cpu_milli=9_000, memory_bytes=18)
    world = World([machine], [Team("a"), Team("b")])
    for number in range(6):
        world.submit(
            waiting(f"a-{number}", team="a", resources=ResourceRequest(cpu_milli=1_000, memory_bytes=4)),
            waiting(f"b-{number}", team="b", resources=ResourceRequest(cpu_milli=3_000, memory_bytes=1)),
        )
    placed = world.placed()
    assert sorted(name[0] for name in placed) == ["a", "a", "a", "b", "b"]


def test_teams_are_compared_with_those_beside_them_first() -> None:
    """A team of two teams gets no more than the team beside it, however many teams are in it."""
    world = World(hosts(1, 8))
    for number in range(8):
        for team in ("big/one", "big/two", "small"):
            world.submit(waiting(f"{team}-{number}", team=team))
    placed = world.placed()
    assert {team: sum(name.startswith(team) for name in placed) for team in ("big/one", "big/two", "small")} == {
        "big/one": 2,
        "big/two": 2,
        "small": 4,
    }


def test_a_team_below_its_guarantee_goes_first() -> None:
    world = World(hosts(1, 4), [Team("a", guaranteed_gpus=3), Team("b", weight=10.0)])
    for number in range(4):
        world.submit(waiting(f"a-{number}", team="a"), waiting(f"b-{number}", team="b"))
    assert sum(name.startswith("a") for name in world.placed()) == 3
