"""Attempts make way only where that is allowed, are billed for what they saved, and never count as failed."""

from dataclasses import replace
from decimal import Decimal

import pytest

from control_plane.fleet.progress import MOVES_MAX
from control_plane.model.account import User
from control_plane.model.action import Action, ActionState, PreemptJob
from control_plane.model.freeze import parse
from control_plane.model.identity import Role
from control_plane.model.job import ExitReason, JobState
from control_plane.store import jobs
from tests.control_plane.governor.test_place_constraints import reason
from tests.control_plane.world import ENDED, LIMITS, RUNNING, World, job_id, spec

SAFE_SECONDS = LIMITS.preemption_min_runtime_seconds


async def running(world: World, *, checkpoint: str = "SIGUSR1") -> User:
    """A low job that runs on the only node, and a job that waits for it."""
    user, node = await world.user(budget_usd=1000), await world.node(gpu=2)
    low = replace(spec("low", gpu=2), checkpoint_signal=checkpoint, max_runtime_seconds=7200)
    await world.launch(user, low)
    await world.launch(user, spec("high", gpu=2))
    await world.place("low", (node, [0, 1]))
    await world.report("low", RUNNING)
    return user


async def preempt(world: World, name: str = "low", other: str = "high") -> Action:
    attempt = await world.newest(name)
    return await world.propose(PreemptJob(job_id(name), attempt.id, job_id(other), "its priority is higher"))


@pytest.mark.parametrize("checkpoint", ["SIGUSR1", ""], ids=["saves", "loses"])
async def test_what_made_way_is_queued_again_and_billed_only_if_it_could_save_its_work(
    world: World, checkpoint: str
) -> None:
    user = await running(world, checkpoint=checkpoint)
    waited_since = (await world.job("low")).queued_at
    world.clock.advance(3600)
    assert reason(await preempt(world)) == ""
    assert (await world.job("low")).status_reason == f"makes way for {job_id('high')}"
    await world.report("low", ENDED, ExitReason.STOPPED, gpu_seconds=7200.0)
    job = await world.job("low")
    assert (job.state, job.moves, job.epoch) == (JobState.QUEUED, 1, 1)
    assert (job.queued_at - waited_since).total_seconds() == 3600, "the time that it ran is no time that it waited"
    account = await world.account(user)
    price = world.governor.prices.usd_per_gpu_hour("H100")
    assert account.spent_usd == (2 * price if checkpoint else Decimal(0))
    again = await world.place("low", ((await world.node("beta")), [0, 1]))
    assert again.state is ActionState.DONE
    assert (await world.newest("low")).max_runtime_seconds == (3600 if checkpoint else 7200)
    await world.finish("low", gpu_seconds=7200.0)
    assert (await world.account(user)).spent_usd <= 4 * price, "no more than was agreed to in the beginning"
    actions = [record.action for record in await world.audit(job_id=job_id("low"))]
    assert actions.count("job.preempted") == 1


async def test_an_attempt_that_has_just_begun_is_safe(world: World) -> None:
    await running(world)
    world.clock.advance(SAFE_SECONDS - 1)
    assert reason(await preempt(world)) == "PREEMPTION_TOO_EARLY"
    world.clock.advance(1)
    assert reason(await preempt(world)) == ""


async def test_only_what_runs_makes_way_and_only_for_what_waits(world: World) -> None:
    user = await running(world)
    world.clock.advance(SAFE_SECONDS)
    assert reason(await preempt(world, other="low")) == "STALE"
    assert reason(await preempt(world)) == ""
    assert reason(await preempt(world)) == "STALE", "it is being stopped already"
    await world.report("low", ENDED, ExitReason.STOPPED)
    assert reason(await preempt(world)) == "STALE", "it has ended already"
    await world.stop("high", user)


async def test_a_person_who_cancels_has_the_last_word(world: World) -> None:
    user = await running(world)
    world.clock.advance(SAFE_SECONDS)
    await preempt(world)
    await world.stop("low", user)
    await world.report("low", ENDED, ExitReason.STOPPED)
    assert (await world.job("low")).state is JobState.CANCELLED


async def test_a_job_that_was_moved_too_often_is_left_to_end(world: World) -> None:
    await running(world)
    world.clock.advance(SAFE_SECONDS)

    def moved(tx: object) -> None:
        row = tx.session.get(jobs.JobRow, job_id("low"))  # type: ignore[attr-defined] # a transaction of the store
        row.moves = MOVES_MAX - 1

    await world.store.write(moved)
    assert reason(await preempt(world)) == "PREEMPTED_TOO_OFTEN"


async def test_only_so_many_make_way_at_once_for_other_jobs(world: World) -> None:
    narrow = World.on(world.store, world.clock, limits=replace(LIMITS, preemptions_max=1))
    user, node = await narrow.user(), await narrow.node(gpu=4)
    for name in ("a", "b", "c", "first", "second"):
        await narrow.launch(user, spec(name))
    for index, name in enumerate(("a", "b", "c")):
        await narrow.place(name, (node, [index]))
    narrow.clock.advance(SAFE_SECONDS)
    assert reason(await preempt(narrow, "a", "first")) == ""
    assert reason(await preempt(narrow, "b", "first")) == "", "what one gang needs is asked for whole"
    assert reason(await preempt(narrow, "c", "second")) == "BLAST_RADIUS"
    await narrow.report("a", ENDED, ExitReason.STOPPED)
    await narrow.report("b", ENDED, ExitReason.STOPPED)
    assert reason(await preempt(narrow, "c", "second")) == ""


async def test_nothing_makes_way_while_all_is_stopped_or_frozen(world: World) -> None:
    await running(world)
    world.clock.advance(SAFE_SECONDS)
    admin = await world.principal("root", Role.ADMIN)
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    assert reason(await preempt(world)) == "KILL_SWITCH"
    await world.governor.set_kill_switch(engaged=False, principal=admin, reason="")
    window = parse("setting", "2026-05-01T00:00Z/2026-06-01T00:00Z", "by a setting")
    frozen = replace(
        world, governor=World.on(world.store, world.clock, limits=replace(LIMITS, freezes=(window,))).governor
    )
    assert reason(await preempt(frozen)) == "CHANGE_FREEZE"
    assert reason(await preempt(world)) == ""
