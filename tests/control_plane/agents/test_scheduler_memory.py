"""What the scheduler keeps in memory is what the store says, however it came about."""

import asyncio
import threading
from dataclasses import replace
from random import Random

import pytest

from control_plane.agents.scheduler import Scheduler, explaining
from control_plane.fleet.queueing.model import QueueTerms
from control_plane.model.job import ExitReason, JobPriority, JobState, TopologyDomain
from control_plane.model.record import Event, Noun
from control_plane.model.team import Team
from control_plane.scheduling import checking, reading
from control_plane.scheduling.reading import Terms, everything
from control_plane.scheduling.values import REFUSED
from control_plane.scheduling.view import CHECK_SECONDS, Line, QueueSettings, QueueView, standing_of
from control_plane.scheduling.world import World as QueueWorld
from control_plane.scheduling.world import differences
from control_plane.store import demand_history, events, jobs, teams, users
from control_plane.store.allocations import ASSIGNMENTS_CHANGED
from tests.control_plane.world import ENDED, LIMITS, RUNNING, World, job_id, spec

TERMS = Terms(LIMITS.max_gpus_per_user, QueueTerms().min_runtime_seconds)


def scheduler_of(world: World) -> Scheduler:
    return Scheduler(world.store, world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user)


async def assert_as_stored(world: World, scheduler: Scheduler) -> None:
    for _ in range(2):  # the second one reads what the first one told waiting jobs
        await scheduler.round()
    memory = scheduler._world
    assert memory is not None
    stored = await world.store.read(lambda tx: everything(tx, TERMS))
    assert memory.sequence == stored.sequence
    assert differences(memory, stored) == []
    assert scheduler._counters.get("reloads") == 1


@pytest.mark.parametrize("seed", range(3))
async def test_memory_that_is_patched_by_events_is_what_the_store_says(world: World, seed: int) -> None:
    random, user = Random(seed), await world.user()
    hosts = [await world.node(name) for name in ("alpha", "beta", "gamma")]
    scheduler, names = scheduler_of(world), []
    await scheduler.round()
    for step in range(14):
        name = f"job-{step}"
        await world.launch(user, replace(spec(name, gpu=random.randint(1, 8)), priority=random.choice([*JobPriority])))
        names.append(name)
        running = [one for one in names if (await world.job(one)).state in (JobState.PLACED, JobState.RUNNING)]
        match random.randrange(5):
            case 0 if running:
                await world.finish(random.choice(running), exit_code=random.randint(0, 1))
            case 1 if running:
                await world.report(random.choice(running), RUNNING)
            case 2:
                await world.lose(random.choice(hosts))
            case 3:
                await world.come_back(random.choice(hosts))
            case _:
                await world.stop(random.choice(names), user)
        world.clock.advance(random.randint(1, 400))
        await assert_as_stored(world, scheduler)


async def test_who_may_hold_how_much_is_taken_over_at_once(world: World) -> None:
    user = await world.user()
    await world.node()
    scheduler = scheduler_of(world)
    await world.store.write(lambda tx: teams.put(tx, Team("small", max_gpus=1)))
    await world.store.write(lambda tx: users.set_team(tx, user.id, "small"))
    await world.launch(user, spec("one"), spec("two"))
    await scheduler.round()
    assert [(await world.job(name)).state for name in ("one", "two")] == [JobState.PLACED, JobState.QUEUED]
    await world.store.write(lambda tx: teams.put(tx, Team("small", max_gpus=2)))
    await scheduler.round()
    assert (await world.job("two")).state is JobState.PLACED


async def test_who_is_too_far_behind_reads_everything_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await world.user()
    await world.node()
    scheduler = scheduler_of(world)
    await scheduler.round()
    monkeypatch.setattr(reading, "EVENTS_MAX", 1)
    await world.launch(user, spec("one"), spec("two"))
    await scheduler.round()
    assert len(await world.held()) == 2
    assert scheduler._counters["reloads"] >= 2
    monkeypatch.undo()
    await world.launch(user, spec("three"))
    await world.store.write(lambda tx: events.prune(tx, keep=1))
    await scheduler.round()
    assert len(await world.held()) == 3


async def test_what_hosts_do_is_a_reason_to_look_at_once_only_while_something_waits(world: World) -> None:
    user = await world.user()
    node = await world.node()
    scheduler = scheduler_of(world)
    await scheduler.round()
    told = Event(1, Noun.NODE, node.id, "", "node.cordoned", "", world.clock.now())
    assert not scheduler.concerns(told)
    assert scheduler.concerns(replace(told, noun=Noun.JOB))
    await world.launch(user, spec("too much for now", gpu=8), spec("waits for it", gpu=8))
    await scheduler.round()
    assert scheduler.concerns(told)
    assert not scheduler.concerns(replace(told, kind=ASSIGNMENTS_CHANGED))
    assert not scheduler.concerns(replace(told, noun=Noun.INCIDENT))


async def test_a_difference_that_nothing_explains_is_told_and_set_right(world: World) -> None:
    user = await world.user()
    await world.node()
    scheduler = scheduler_of(world)
    await world.launch(user, spec("one", gpu=8))
    await scheduler.round()
    assert scheduler._world is not None
    scheduler._world.room.drop((await world.newest("one")).id)
    world.clock.advance(600)
    await scheduler.round()
    assert scheduler._counters["differences"] == 1
    await assert_waits_for_room(world, scheduler)


async def assert_waits_for_room(world: World, scheduler: Scheduler) -> None:
    await world.launch(await world.user("bob"), spec("two"))
    await scheduler.round()
    assert (await world.job("two")).status_reason == "waits: it needs 1 H100, and 0 of 8 are free"
    assert scheduler._counters.get("placements_refused", 0) == 0


async def test_a_waiting_job_of_higher_priority_has_others_make_way_and_starts(world: World) -> None:
    user = await world.user()
    await world.node(gpu=2)
    scheduler = scheduler_of(world)
    await world.launch(user, replace(spec("low", gpu=2), priority=JobPriority.LOW, checkpoint_signal="SIGUSR1"))
    await scheduler.round()
    await world.report("low", RUNNING)
    world.clock.advance(QueueTerms().min_runtime_seconds + 1)
    await world.launch(user, replace(spec("high", gpu=2), priority=JobPriority.HIGH))
    await scheduler.round()
    assert (await world.newest("low")).preempted_for == job_id("high")
    await scheduler.round()
    assert scheduler._counters["preemptions"] == 1, "once is enough"
    await world.report("low", ENDED, ExitReason.STOPPED)
    await scheduler.round()
    states = [(await world.job(name)).state for name in ("low", "high")]
    assert states == [JobState.QUEUED, JobState.PLACED]
    await world.finish("high")
    await scheduler.round()
    assert (await world.job("low")).state is JobState.PLACED


async def test_what_saves_its_work_goes_elsewhere_so_that_a_gang_finds_one_piece(world: World) -> None:
    user = await world.user()
    hosts = [await world.node(name, gpu=4) for name in ("alpha", "beta")]
    scheduler = scheduler_of(world)
    # One job on each host, so that no host has four GPUs free, though six are free in all.
    for name, host in zip(("one", "two"), hosts, strict=True):
        await world.launch(user, replace(spec(name), checkpoint_signal="SIGUSR1"))
        await world.place(name, (host, [0]))
        await world.report(name, RUNNING)
    world.clock.advance(QueueTerms().min_runtime_seconds + 1)
    gang = spec("gang", gpu=4)
    await world.launch(user, replace(gang, resources=replace(gang.resources, topology=TopologyDomain.NODE)))
    await scheduler.round()
    moved = [name for name in ("one", "two") if (await world.newest(name)).preempted_for == job_id("gang")]
    assert len(moved) == 1
    await world.report(moved[0], ENDED, ExitReason.STOPPED)
    for _ in range(2):
        await scheduler.round()
    assert [(await world.job(name)).state for name in ("gang", moved[0])] == [JobState.PLACED, JobState.PLACED]


async def test_two_halves_go_on_one_gpu_and_a_third_waits(world: World) -> None:
    user = await world.user()
    await world.node(gpu=1, shares=True)
    scheduler = scheduler_of(world)
    await world.launch(user, *(spec(name, gpu_milli=500) for name in ("a", "b", "c")))
    await scheduler.round()
    assert [(await world.job(name)).state for name in ("a", "b", "c")] == [
        JobState.PLACED,
        JobState.PLACED,
        JobState.QUEUED,
    ]
    await world.finish("a")
    await scheduler.round()
    assert (await world.job("c")).state is JobState.PLACED


async def test_what_was_asked_for_is_remembered_over_a_restart(world: World) -> None:
    user = await world.user()
    scheduler = scheduler_of(world)
    await scheduler.round()
    for batch in range(2):
        await world.launch(user, *(spec(f"job-{batch}-{one}") for one in range(60)))
        world.clock.advance(1)
    await scheduler.round()
    assert await world.store.read(demand_history.load)
    again = scheduler_of(world)
    await again.round()
    assert again._demand is not None
    assert again._demand.history.noted == 120, "those that still wait are not counted twice"


async def test_anybody_may_ask_about_the_queue_without_disturbing_it(world: World) -> None:
    user = await world.user()
    await world.node(gpu=1)
    await world.launch(user, spec("one"), spec("two"))
    view = QueueView(world.store, QueueSettings(LIMITS.max_gpus_per_user))
    first = await view.ask(lambda _, line: line)
    assert [one.job_id for one in first.standings] == [job_id("one"), job_id("two")]
    scheduler = scheduler_of(world)
    await scheduler.round()
    second = await view.ask(lambda _, line: line)
    assert standing_of(second, job_id("one")) is None
    left = standing_of(second, job_id("two"))
    assert left is not None
    assert left.position == 1


async def test_who_goes_away_leaves_no_world_that_is_still_looked_at_to_others(world: World) -> None:
    await world.node()
    view = QueueView(world.store, QueueSettings(LIMITS.max_gpus_per_user))
    looked_at, began, end = [], asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def ask(seen: QueueWorld, _line: Line) -> None:
        looked_at.append(seen)
        loop.call_soon_threadsafe(began.set)
        end.wait(30)

    asking = asyncio.create_task(view.ask(ask))
    try:
        await began.wait()
        asking.cancel()
        await asyncio.wait({asking})
        looked_at.append(await view.ask(lambda seen, _: seen))
    finally:
        end.set()
    assert looked_at[0] is not looked_at[1]


async def test_what_people_are_told_is_compared_with_the_store_now_and_then_and_set_right(world: World) -> None:
    user = await world.user()
    await world.node(gpu=1)
    await world.launch(user, spec("one"), spec("two"))
    scheduler, view = scheduler_of(world), QueueView(world.store, QueueSettings(LIMITS.max_gpus_per_user))
    await scheduler.round()
    kept = await view.look(lambda seen: seen)
    world.clock.advance(CHECK_SECONDS + 1)
    assert await view.look(lambda seen: seen) is kept, "nothing differs"
    kept.queue.drop(job_id("two"))
    assert await view.look(lambda seen: len(seen.queue.jobs())) == 0, "not looked at yet"
    world.clock.advance(CHECK_SECONDS + 1)
    line = await view.ask(lambda _, line: line)
    assert [one.job_id for one in line.standings] == [job_id("two")]
    kept = await view.look(lambda seen: seen)
    [held] = kept.room.claims()
    kept.room.drop(held)
    world.clock.advance(CHECK_SECONDS + 1)
    assert await view.look(lambda seen: list(seen.room.claims())) == [held]


async def test_a_check_of_memory_comes_round_to_all_that_is_known(world: World) -> None:
    user = await world.user()
    await world.node()
    await world.launch(user, *(spec(f"job-{number}") for number in range(12)))
    memory = await QueueView(world.store, QueueSettings(LIMITS.max_gpus_per_user)).look(lambda seen: seen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "JOBS_MAX", 5)
        looked_at = [set(checking.some_of(memory, number).job_ids) for number in range(6)]
    assert [len(one) for one in looked_at] == [5, 5, 2, 5, 5, 2]
    assert set.union(*looked_at[:3]) == memory.queue.jobs().keys()


async def test_figures_of_teams_are_told_without_explaining_the_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await world.user()
    await world.launch(user, spec("one"))
    monkeypatch.setattr("control_plane.scheduling.world.World.standings", None)
    view = QueueView(world.store, QueueSettings(LIMITS.max_gpus_per_user))
    [figures] = await view.look(lambda seen: seen.quotas())
    assert figures.waiting_jobs == 1


async def test_who_is_no_longer_refused_is_no_longer_said_to_be_wherever_it_stands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await world.user()
    await world.node(gpu=1)
    await world.launch(user, spec("one"), spec("two"), spec("three"))
    refused = f"{REFUSED}its budget is spent"
    await world.store.write(lambda tx: jobs.update(tx, job_id("three"), status_reason=refused))
    monkeypatch.setattr(explaining, "TOLD_MAX", 1)
    scheduler = scheduler_of(world)
    for _ in range(2):
        await scheduler.round()
    assert (await world.job("three")).status_reason == "waits for its turn; orquanta job why tells more"
