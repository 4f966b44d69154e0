"""The loop wakes runs when what they wait for changes, takes a bounded number at once, and rests while paused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from control_plane.agents.orchestrator.names import NAME
from control_plane.agents.orchestrator.runs.loop import RunLoop
from control_plane.model.agent import AgentStatus
from control_plane.model.goal import Goal, GoalState
from control_plane.model.ids import RunId
from control_plane.model.repair import RepairState, Rung
from control_plane.model.run import EventType, RunState
from control_plane.reasoning.contract import ModelReply, ModelRequest, OnDelta
from control_plane.store import agents, goals, runs
from tests.control_plane.agents.orchestrator.runs.rig import Rig, said
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import LIMITS

TEXT = "gpu-a-17 keeps throwing Xid 79, sort it out"


@asynccontextmanager
async def looping(rig: Rig, *, at_once: int = 4) -> AsyncIterator[RunLoop]:
    loop = RunLoop(rig.world.store, rig.driver, at_once=at_once)
    task = asyncio.ensure_future(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def asked(rig: Rig, text: str, number: int = 0) -> Goal:
    return await rig.orchestrator.create_goal(
        rig.ada, text=text, request_id=f"loop-{number}", budget_usd=None, timezone=""
    )


async def until(rig: Rig, goal: Goal, holds: Callable[[Goal, RunState], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            seen = rig.world.store.changes.newest
            if holds(await rig.goal(goal.id), (await rig.run(goal)).state):
                return
            await rig.world.store.changes.wait_beyond(seen)


async def test_a_run_is_driven_to_its_end_and_the_agent_shows_what_it_does(rig: Rig) -> None:
    await rig.node()
    async with looping(rig):
        goal = await asked(rig, "how many H100 idle?")
        await until(rig, goal, lambda now, _: now.state.ended)
    assert (await rig.goal(goal.id)).state is GoalState.SUCCEEDED
    record = await rig.world.store.read(lambda tx: agents.get(tx, NAME))
    assert record is not None
    assert record.status is AgentStatus.IDLE
    assert (await rig.run(goal)).id in record.last_action


async def test_the_end_of_a_repair_wakes_the_run_that_watches_its_node(rig: Rig) -> None:
    clinic = Clinic.of(rig.world)
    rig.ada = await rig.operator()
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    async with looping(rig):
        goal = await asked(rig, TEXT)
        await until(rig, goal, lambda _, state: state is RunState.WATCHING)
        await clinic.reports(node, RepairState.SUCCEEDED)
        await clinic.cleared(node)
        for _ in range(4):
            await clinic.treat()
        await until(rig, goal, lambda now, _: now.state.ended)
    assert (await rig.goal(goal.id)).state is GoalState.SUCCEEDED


async def test_an_approval_wakes_the_run_that_waits_for_it(rig: Rig) -> None:
    clinic = Clinic.of(rig.world)
    rig.ada = await rig.operator()
    rig.world.governor._limits = replace(LIMITS, approval_rungs=frozenset({Rung.RESET_GPU}))
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    otto = await rig.operator("otto")
    async with looping(rig):
        goal = await asked(rig, TEXT)
        await until(rig, goal, lambda _, state: state is RunState.AWAITING_APPROVAL)
        (action,) = await rig.actions()
        await rig.world.governor.approve(action.id, approver=otto, hash=action.hash, reason="fine")
        await until(rig, goal, lambda _, state: state is RunState.WATCHING)
    assert EventType.APPROVAL_DECIDED in [event.type for event in await rig.events(goal)]


async def test_a_cancelled_goal_ends_its_run(rig: Rig) -> None:
    async with looping(rig):
        goal = await asked(rig, "train on 1 H100 for 1 hour: `python train.py`")
        await until(rig, goal, lambda _, state: state is RunState.WATCHING)
        await rig.orchestrator.cancel(rig.ada, goal.id, reason="enough", request_id="c-1")
        await until(rig, goal, lambda _, state: state is RunState.STOPPED)


async def test_a_paused_orchestrator_takes_no_step_until_it_is_resumed(rig: Rig) -> None:
    await rig.node()
    await rig.world.store.write(lambda tx: agents.register(tx, NAME))
    await rig.world.store.write(lambda tx: agents.set_paused(tx, NAME, paused=True))
    async with looping(rig):
        goal = await asked(rig, "how many H100 idle?")
        for _ in range(20):
            await rig.world.store.write(lambda tx: goals.update(tx, goal.id, status_reason="waits"))
        assert await rig.steps(goal) == ()
        await rig.world.store.write(lambda tx: agents.set_paused(tx, NAME, paused=False))
        await until(rig, goal, lambda now, _: now.state.ended)


async def test_no_more_runs_than_allowed_are_driven_at_once(rig: Rig) -> None:
    now, most, go = 0, 0, asyncio.Event()

    class Slow:
        available = True
        model_name = "slow"

        async def ask(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
            nonlocal now, most
            assert request.schema is not None
            assert on_delta is None
            now += 1
            most = max(most, now)
            await go.wait()
            now -= 1
            raise TimeoutError

    await rig.node()
    rig.model = Slow()  # type: ignore[assignment] # a Reasoner, as the rig needs
    rig.build()
    async with looping(rig, at_once=2):
        made = [await asked(rig, "how many H100 idle?", number) for number in range(5)]
        async with asyncio.timeout(30):
            while now < 2:  # noqa: ASYNC110 - the count is of another task
                await asyncio.sleep(0.01)
        go.set()
        for goal in made:
            await until(rig, goal, lambda one, _: one.state.ended)
    assert most == 2


async def test_a_run_whose_driving_fails_is_tried_again_and_does_not_disturb_others(rig: Rig) -> None:
    await rig.node()
    failures: list[RunId] = []
    advance = rig.driver.advance

    async def failing(run_id: RunId) -> bool:
        if not failures:
            failures.append(run_id)
            raise RuntimeError("by itself")
        return await advance(run_id)

    rig.driver.advance = failing  # type: ignore[method-assign] # a fault put in
    async with looping(rig):
        goal = await asked(rig, "how many H100 idle?")
        await until(rig, goal, lambda now, _: now.state.ended)
    assert failures


async def test_runs_are_taken_up_again_after_a_restart(rig: Rig) -> None:
    await rig.node()
    rig.think(said("query", "how many"))
    goal = await asked(rig, "how many H100 idle?")
    assert (await rig.run(goal)).state is RunState.RUNNING
    rig.model = None
    rig.build()
    async with looping(rig):
        await until(rig, goal, lambda now, _: now.state.ended)
    assert "8 of 8 H100 idle" in (await rig.goal(goal.id)).result
    assert len(await rig.world.store.read(runs.unended)) == 0
