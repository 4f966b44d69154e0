import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from control_plane.agents.loop import Agent
from control_plane.agents.scheduler import Scheduler
from control_plane.fleet.queueing.model import QueueDecision
from control_plane.model.action import ActionState
from control_plane.model.identity import Role
from control_plane.model.job import ExitReason, JobPriority, JobState
from control_plane.scheduling.world import World as Memory
from control_plane.store import actions, agents, jobs
from control_plane.store.actions import ActionFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.world import ENDED, LIMITS, RUNNING, World, job_id, spec


def scheduler_of(world: World) -> Scheduler:
    return Scheduler(world.store, world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user)


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[None]:
    task = asyncio.ensure_future(agent.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(world: World, name: str, state: JobState) -> None:
    """Wait for a job's state, woken by the changes themselves."""
    async with asyncio.timeout(30):
        seen = 0
        while (await world.job(name)).state is not state:
            seen = await world.store.changes.wait_beyond(seen)


async def reason(world: World, name: str) -> str:
    return (await world.job(name)).status_reason


async def test_a_submitted_job_gets_its_gpus_without_anybody_asking(any_world: World) -> None:
    user = await any_world.user()
    await any_world.node()
    async with running(scheduler_of(any_world)):
        await any_world.launch(user, spec("train", gpu=2))
        await until(any_world, "train", JobState.PLACED)
    assert len(await any_world.held()) == 2


async def test_a_gang_gets_all_its_gpus_or_none(world: World) -> None:
    user = await world.user()
    await world.node("alpha")
    await world.launch(user, spec("gang", gpu=16, nodes=2))
    scheduler = scheduler_of(world)
    await scheduler.round()
    assert (await world.job("gang")).state is JobState.QUEUED
    assert await world.held() == set()
    assert await reason(world, "gang") == "waits: it needs 8 H100 on each of 2 hosts, and the fleet has 8"
    await world.node("beta")
    await scheduler.round()
    assert [member.node_name for member in (await world.newest("gang")).members] == ["alpha", "beta"]
    assert len(await world.held()) == 16


async def test_a_waiting_job_says_how_many_gpus_are_free(world: World) -> None:
    user = await world.user()
    await world.node()
    await world.launch(user, spec("small", gpu=2), spec("large", gpu=8))
    await scheduler_of(world).round()
    assert await reason(world, "large") == "waits: it needs 8 H100, and 6 of 8 are free"


async def test_a_chain_runs_in_order(world: World) -> None:
    user = await world.user()
    await world.node()
    await world.launch(user, spec("first"), spec("second", needs=(job_id("first"),)))
    scheduler = scheduler_of(world)
    await scheduler.round()
    assert await reason(world, "second") == f"waits for {job_id('first')} to succeed"
    await world.finish("first")
    await scheduler.round()
    assert (await world.job("second")).state is JobState.PLACED


async def test_a_chain_that_breaks_cancels_the_rest_once_and_gives_all_money_back(world: World) -> None:
    user, goal = await world.user(budget_usd=20), None
    await world.node()
    goal = await world.goal(user)
    first, second = job_id("first"), job_id("second")
    await world.launch(
        user, spec("first"), spec("second", needs=(first,)), spec("third", needs=(first, second)), goal=goal
    )
    await scheduler_of(world).round()
    await world.finish("first", exit_code=1)
    states = [(await world.job(name)).state for name in ("first", "second", "third")]
    assert states == [JobState.FAILED, JobState.CANCELLED, JobState.CANCELLED]
    assert (await world.account(user)).reserved_usd == 0
    ends = [record for record in await world.audit(job_id=job_id("third")) if record.action == "job.cancelled"]
    assert len(ends) == 1
    assert (await world.goal_now(goal)).state.value == "failed"


async def test_higher_priority_goes_first_and_then_who_waits_longest(world: World) -> None:
    user = await world.user()
    for name, priority in (("low", JobPriority.LOW), ("early", JobPriority.NORMAL), ("late", JobPriority.NORMAL)):
        await world.launch(user, replace(spec(name, gpu=8), priority=priority))
        world.clock.advance(1)
    await world.launch(user, replace(spec("urgent", gpu=8), priority=JobPriority.URGENT))
    scheduler, order = scheduler_of(world), []
    await world.node()
    for _ in range(4):
        await scheduler.round()
        placed = [
            name for name in ("low", "early", "late", "urgent") if (await world.job(name)).state is JobState.PLACED
        ]
        order += placed
        await world.finish(placed[0])
    assert order == ["urgent", "early", "late", "low"]


async def test_a_lost_job_runs_again_under_a_new_epoch_and_the_old_ones_report_is_ignored(world: World) -> None:
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("train"))
    scheduler = scheduler_of(world)
    await scheduler.round()
    await world.report("train", RUNNING)
    await world.lose(alpha)
    await world.requeue("train")
    await world.node("beta")
    await scheduler.round()
    second = await world.newest("train")
    assert (second.epoch, second.members[0].node_name) == (2, "beta")
    late = await world.report("train", ENDED, ExitReason.EXITED, epoch=1, exit_code=0)
    assert (late.ack, late.changed) == (True, False)
    assert (await world.job("train")).state is JobState.PLACED
    await world.finish("train")
    assert (await world.job("train")).state is JobState.SUCCEEDED


async def test_the_limit_of_a_user_holds_over_all_their_jobs(world: World) -> None:
    user = await world.user(max_gpus=3)
    await world.node()
    await world.launch(user, spec("a", gpu=2), spec("b", gpu=2), spec("c", gpu=1))
    await scheduler_of(world).round()
    assert len(await world.held()) == 3
    assert await reason(world, "b") == "waits: ada@example.com may hold 3 GPUs and holds 3; this job needs 2"


async def test_a_paused_scheduler_proposes_nothing_and_a_resumed_one_goes_on(world: World) -> None:
    user = await world.user()
    await world.node()
    await world.store.write(lambda tx: agents.register(tx, "scheduler_agent"))
    await world.store.write(lambda tx: agents.set_paused(tx, "scheduler_agent", paused=True))
    async with running(scheduler_of(world)):
        await world.launch(user, spec("train"))
        await settled(world)
        assert (await world.job("train")).state is JobState.QUEUED
        await world.store.write(lambda tx: agents.set_paused(tx, "scheduler_agent", paused=False))
        await until(world, "train", JobState.PLACED)


async def test_the_kill_switch_stops_placements_and_its_release_starts_them(world: World) -> None:
    user, admin = await world.user(), await world.principal("root", Role.ADMIN)
    await world.node()
    async with running(scheduler_of(world)):
        await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
        await world.launch(user, spec("train"))
        await settled(world)
        await world.governor.set_kill_switch(engaged=False, principal=admin, reason="")
        await world.launch(user, spec("train"))
        await until(world, "train", JobState.PLACED)


async def settled(world: World) -> None:
    """Let every loop that waits for the newest change have its turn, several times over."""
    for _ in range(30):
        await world.store.read(jobs.count_by_state)


async def test_an_idle_scheduler_does_not_go_round_in_circles(world: World) -> None:
    user = await world.user()
    await world.node(gpu=1)
    scheduler = scheduler_of(world)
    scheduler._interval_seconds = 3600
    async with running(scheduler):
        await world.launch(user, spec("fits"), spec("waits"))
        await until(world, "fits", JobState.PLACED)
        seen = []
        for _ in range(20):  # what follows from the placement may come late on a busy machine, but it comes to an end
            await settled(world)
            seen.append((scheduler._counters["rounds"], world.store.changes.newest))
            if len(seen) > 1 and seen[-1] == seen[-2]:
                break
        assert seen[-1] == seen[-2], f"the scheduler never comes to rest: {seen}"
        assert seen[-1][0] <= 5


async def test_a_placement_that_was_stale_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    user, alpha = await world.user(), await world.node("alpha", gpu=1)
    await world.launch(user, spec("train"))
    scheduler = scheduler_of(world)
    propose = world.governor.propose

    async def lose_the_node_first(proposal: object) -> object:
        await world.lose(alpha)
        return await propose(proposal)  # type: ignore[arg-type] # it is what the scheduler passes

    monkeypatch.setattr(world.governor, "propose", lose_the_node_first)
    await scheduler.round()
    assert (await world.job("train")).state is JobState.QUEUED
    monkeypatch.setattr(world.governor, "propose", propose)
    await world.node("beta", gpu=1)
    await scheduler.round()
    assert (await world.newest("train")).members[0].node_name == "beta"


async def test_a_lasting_refusal_is_told_to_the_job_and_does_not_flood_the_audit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await world.user()
    await world.node()
    await world.launch(user, spec("refused", gpu=1), spec("fine", gpu=8))
    monkeypatch.setattr(
        "control_plane.governor.place_validity._gang",
        lambda job, _effect: ("STALE", "the moon is full") if job.spec.name == "refused" else None,
    )
    scheduler = scheduler_of(world)
    for _ in range(20):
        await scheduler.round()
    denied = await world.store.read(
        lambda tx: actions.page(tx, ActionFilter(states=(ActionState.DENIED,)), PageRequest(500))
    )
    assert len(denied.items) == 2
    assert await reason(world, "refused") == "refused for now: the moon is full"
    assert (await world.job("fine")).state is JobState.PLACED, "what is refused must not stand in the way of others"
    monkeypatch.undo()
    await world.finish("fine")
    world.clock.advance(120)
    await scheduler.round()
    assert (await world.job("refused")).state is JobState.PLACED


async def test_nobody_makes_way_again_and_again_for_a_job_that_is_refused_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, scheduler = await world.user(), scheduler_of(world)
    await world.node(gpu=2)
    monkeypatch.setattr(
        "control_plane.governor.place_validity._gang",
        lambda job, _effect: ("STALE", "the moon is full") if job.spec.name == "refused" else None,
    )
    await world.launch(user, replace(spec("low", gpu=2), priority=JobPriority.LOW))
    await scheduler.round()
    await world.launch(user, replace(spec("refused", gpu=2), priority=JobPriority.URGENT))
    for _ in range(180):
        world.clock.advance(10)
        await scheduler.round()
        job = await world.job("low")
        if job.state is not JobState.QUEUED and (await world.newest("low")).stop_requested:
            await world.report("low", ENDED, ExitReason.STOPPED)
    assert job.moves == 1
    assert job.state is JobState.PLACED
    await world.launch(user, replace(spec("high", gpu=2), priority=JobPriority.HIGH))
    for _ in range(20):
        world.clock.advance(10)
        await scheduler.round()
    assert (await world.newest("low")).preempted_for == job_id("high"), "others need not suffer from it"


async def test_a_job_whose_pause_is_over_and_that_finds_no_room_is_decided_about_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, scheduler = await world.user(), scheduler_of(world)
    await world.node(gpu=2)
    await world.launch(user, spec("refused", gpu=2))
    with monkeypatch.context() as patch:
        patch.setattr("control_plane.governor.place_validity._gang", lambda *_: ("STALE", "the moon is full"))
        for _ in range(3):
            await scheduler.round()
    await world.launch(user, replace(spec("first", gpu=2), priority=JobPriority.URGENT))
    await scheduler.round()
    assert (await world.job("first")).state is JobState.PLACED
    decided, decide = [], Memory.decide

    def count(*given: Any) -> QueueDecision:
        decided.append(given)
        return decide(*given)

    monkeypatch.setattr(Memory, "decide", count)
    world.clock.advance(3)  # its pause is over; so much later that time alone is no reason to decide
    for _ in range(5):
        await scheduler.round()
    assert len(decided) == 1
    assert (await world.job("refused")).state is JobState.QUEUED


async def test_cpu_and_memory_are_promised_once(world: World) -> None:
    user = await world.user()
    await world.node()
    await world.launch(user, *(spec(name, gpu=0, cpu_milli=40_000) for name in ("a", "b")))
    scheduler = scheduler_of(world)
    await scheduler.round()
    assert await reason(world, "b") == "waits: no host has 40 cores free; at most 24 are (alpha)"
    await world.finish("a")
    await scheduler.round()
    assert (await world.job("b")).state is JobState.PLACED


async def test_a_round_that_fails_is_on_show_and_the_next_one_recovers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await world.user()
    await world.node()
    scheduler = scheduler_of(world)
    failed = asyncio.Event()

    loop = asyncio.get_running_loop()

    def fail(*_: object) -> None:
        loop.call_soon_threadsafe(failed.set)
        raise ZeroDivisionError

    monkeypatch.setattr("control_plane.scheduling.world.World.decide", fail)
    async with running(scheduler):
        await world.launch(user, spec("train"))
        await asyncio.wait_for(failed.wait(), 30)
        monkeypatch.undo()
        await until(world, "train", JobState.PLACED)
        async with asyncio.timeout(30):
            seen = 0
            while (await world.store.read(lambda tx: agents.get(tx, "scheduler_agent"))).last_action == "":  # type: ignore[union-attr] # registered
                seen = await world.store.changes.wait_beyond(seen)
    record = await world.store.read(lambda tx: agents.get(tx, "scheduler_agent"))
    assert record is not None
    assert (record.last_error, record.metrics["errors"]) == ("", 1.0)
