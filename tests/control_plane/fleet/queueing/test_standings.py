"""Where a waiting job stands, and what it is told."""

from dataclasses import replace

import pytest

from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.queueing.model import QueueTerms, Standing, WaitReason
from control_plane.model.ids import JobId, UserId
from control_plane.model.job import JobPriority, ResourceRequest
from control_plane.model.team import Team
from tests.control_plane.fleet.queueing.rooms import host, hosts, waiting
from tests.control_plane.fleet.queueing.world import World


@pytest.fixture(autouse=True)
def _hosts_of_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job lacks is told by the room."""
    monkeypatch.setattr(World, "room_type", Hosts)


def _standings(world: World, held_back: dict[JobId, str] | None = None) -> dict[str, Standing]:
    found = world.queue.standings(world.room, world.teams, world.user_limits, now=world.now, held_back=held_back)
    assert [one.position for one in found] == list(range(1, len(found) + 1))
    return {one.job_id: one for one in found}


def test_a_job_that_does_not_fit_is_told_what_has_to_end_first() -> None:
    world = World(hosts(1, 8))
    world.submit(waiting("first", 4, runtime=7200))
    world.step()
    world.submit(waiting("large", 8), waiting("behind", 2))
    found = _standings(world)
    assert found["large"].reason is WaitReason.CAPACITY
    assert found["large"].waits_for == "it needs 8 GPUs, and 4 of 8 are free"
    assert found["large"].would_help[0] == "4 GPUs more where it would go: first on gpu-0 ends by 14:00 UTC"
    assert found["large"].estimated_start_at is not None
    assert found["behind"].reason is WaitReason.RESERVATION
    assert "is kept for large (starts by 14:00 UTC)" in found["behind"].waits_for
    assert "limit its time to 119 minutes (--max-time 119m): it has no time limit" in found["behind"].would_help[0]


def test_pieces_that_are_free_are_counted_and_another_model_is_named() -> None:
    world = World([host(0, 2), host(1, 2), host(2, 4, "A100")])
    world.submit(waiting("a", resources=ResourceRequest(("H100",), 1, 1)))
    world.submit(waiting("b", resources=ResourceRequest(("H100",), 2, 2)))
    world.step()
    world.end("a")
    world.submit(waiting("pair", resources=ResourceRequest(("H100",), 2, 1)))
    found = _standings(world)["pair"]
    assert found.reason is WaitReason.FRAGMENTATION
    assert found.waits_for == "2 H100 are free, at most 1 on one host (gpu-0); it needs 2 on one host"
    assert "take another model too (another --gpu-type): A100 is free" in found.would_help
    assert found.estimated_start_at is None


def test_what_no_host_could_ever_hold_is_said_with_the_reason() -> None:
    world = World([host(0, 8, zone="a")])
    world.submit(waiting("zone", resources=ResourceRequest(gpu_count=1, node_labels=(("zone", "b"),))))
    world.submit(waiting("model", resources=ResourceRequest(("B200",), 1)))
    world.submit(waiting("wide", 16, nodes=1))
    found = _standings(world)
    assert {one.reason for one in found.values()} == {WaitReason.UNSATISFIABLE}
    assert found["zone"].waits_for == "no host in service has the label zone=b"
    assert found["zone"].would_help == ("leave out the label zone=b (without --label)",)
    assert found["model"].waits_for == "no host in service has B200; there are 8 H100"
    assert found["wide"].waits_for == "it needs 16 GPUs on one host, and the fleet has 8"


def test_a_limit_is_told_with_figures_and_the_command_that_raises_it() -> None:
    world = World(hosts(1, 8), [Team("a/x", max_gpus=2)])
    world.user_limits[UserId("bob")] = 1
    world.submit(waiting("one", 2, team="a/x"), waiting("two", team="a/x"), waiting("never", 3, team="a/x"))
    world.submit(waiting("bob-1", user="bob"), waiting("bob-2", user="bob"))
    world.step()
    found = _standings(world)
    assert found["two"].reason is WaitReason.QUOTA
    assert found["two"].waits_for == "team a/x may hold 2 GPUs and holds 2; this job needs 1"
    assert found["two"].would_help[-1].startswith("raise the limit of team a/x: orquanta quota set a/x --max 3")
    assert found["never"].reason is WaitReason.UNSATISFIABLE
    assert found["bob-2"].would_help[-1].endswith("orquanta user update bob@example.com --max-gpus 2")


def test_all_limits_in_the_way_are_told_with_who_has_to_end_and_the_commands_that_raise_them() -> None:
    world = World(hosts(2, 8), [Team("a", max_gpus=5), Team("a/x", max_gpus=4)])
    world.submit(waiting("soon", 1, team="a", runtime=600), waiting("late", 3, team="a/x", runtime=7200))
    world.submit(waiting("later", 1, team="a/x", runtime=9000))
    world.step()
    world.submit(waiting("more", 3, team="a/x"))
    more = _standings(world)["more"]
    assert more.reason is WaitReason.QUOTA
    assert more.waits_for == (
        "team a/x may hold 4 GPUs and holds 4, team a may hold 5 GPUs and holds 5; this job needs 3"
    )
    assert more.would_help == (
        "soon ends by 12:10 UTC, late ends by 14:00 UTC",
        "raise the limits of team a/x and team a: orquanta quota set a/x --max 7 && orquanta quota set a --max 8",
    )


def test_what_it_would_wait_for_once_a_limit_is_raised_is_told_too() -> None:
    world = World(hosts(1, 8), [Team("a", max_gpus=6), Team("b")])
    world.submit(waiting("mine", 4, team="a"), waiting("other", 3, team="b"))
    world.step()
    world.submit(waiting("more", 4, team="a"))
    (help_,) = _standings(world)["more"].would_help
    assert help_.startswith("raise the limit of team a: orquanta quota set a --max 8; ")
    assert help_.endswith("; it then waits for room: it needs 4 GPUs, and 1 of 8 is free")


def test_dependencies_refusals_and_those_who_make_way_are_named() -> None:
    world = World(hosts(1, 1), terms=QueueTerms(min_runtime_seconds=0))
    world.submit(waiting("low", priority=JobPriority.LOW))
    world.step()
    world.wait(60)
    world.submit(waiting("urgent", priority=JobPriority.URGENT), waiting("refused"))
    world.submit(waiting("after", waits_for=(JobId("low"),)))
    world.step()
    found = _standings(world, {JobId("refused"): "it is over budget"})
    assert (found["urgent"].reason, found["urgent"].waits_for) == (
        WaitReason.PREEMPTING,
        "waits for low to stop and make way for it",
    )
    assert (found["refused"].reason, found["refused"].waits_for) == (WaitReason.REFUSED, "it is over budget")
    assert found["after"].waits_for == "waits for low to succeed"
    assert list(found) == ["urgent", "refused", "after"]


def test_positions_show_the_turns_that_users_will_take_and_asking_changes_nothing() -> None:
    world = World(hosts(1, 1))
    world.submit(*(waiting(f"ada-{number}") for number in range(3)), waiting("bob", user="bob"))
    assert list(_standings(world)) == ["ada-0", "bob", "ada-1", "ada-2"]
    assert len(world.queue.standings(world.room, (), {}, now=world.now, limit=2)) == 2
    assert world.placed() == ["ada-0"]


def test_figures_of_teams_include_the_teams_in_them() -> None:
    world = World(hosts(1, 8), [Team("a", guaranteed_gpus=1, weight=2.0), Team("a/x"), Team("b")])
    world.submit(waiting("one", 2, team="a/x"), waiting("two", 2, team="a"), waiting("three", 1))
    world.step()
    world.submit(replace(waiting("four", 6, team="a/x"), waits_for=(JobId("one"),)))
    found = {one.team.path: one for one in world.queue.quotas(world.room, world.teams)}
    assert list(found) == ["", "a", "a/x", "b"]
    both = found["a"]
    assert (both.held_gpus, both.borrowed_gpus, both.running_jobs) == (4, 3, 2)
    assert (both.waiting_gpus, both.waiting_jobs, both.dominant_share) == (6, 1, 0.25)
    assert (found[""].held_gpus, found["b"].held_gpus) == (1, 0)


def test_where_nobody_overtakes_those_behind_are_told_whom_they_go_after() -> None:
    world = World(hosts(1, 8), terms=QueueTerms(backfill=False))
    world.submit(waiting("first", 4))
    world.step()
    world.submit(waiting("large", 8), waiting("small", 1))
    found = _standings(world)["small"]
    assert found.reason is WaitReason.RESERVATION
    assert found.waits_for == ("there is room for it, but it goes after large: without queue_backfill nobody overtakes")


def test_who_starts_next_is_told_so() -> None:
    world = World(hosts(1, 8))
    world.submit(waiting("first", 4))
    found = _standings(world)["first"]
    assert found.waits_for == "there is room for it: it starts when its turn comes, within seconds"
    assert found.estimated_start_at == world.now
