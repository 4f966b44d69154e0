"""A repair goal on a real host, through a killed control plane: the run goes on, and the repair happens once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orquanta.client import AsyncClient
from orquanta.gameday import kernel, local
from orquanta.gameday.fleet import Fleet, Host
from orquanta.types.actions import Action, ActionState
from orquanta.types.goals import GoalState
from orquanta.types.runs import Run, RunState

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(240)]

HEALER = "healing_agent"


async def ill(admin: AsyncClient, host: Host) -> bool:
    node = await admin.nodes.get(host.node_id)
    return any(one.repair is not None for one in node.conditions)


async def repairs(admin: AsyncClient) -> list[Action]:
    return [one async for one in admin.actions.list() if one.kind == "repair_node"]


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait until a call of the fleet says so."""
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - what changes is in other processes
            await asyncio.sleep(0.1)


async def run_of(admin: AsyncClient, goal_id: str) -> Run:
    (run,) = [one async for one in admin.agents.runs(goal_id=goal_id)]
    return run


async def test_a_repair_goal_survives_a_killed_control_plane_and_repairs_once(
    quick_fleet: Callable[..., Fleet],
) -> None:
    async with quick_fleet(lease_seconds="60", fence_seconds="60") as fleet:
        admin = await fleet.client()
        host = await fleet.add_host(admin, "gpu-a-17", "2xH100", settings={"canary_seconds": "0.2"})
        await admin.agents.pause(HEALER, reason="the goal is to do it")
        await local.inject(host, "gpu_lost")
        gpu = (await admin.nodes.get(host.node_id)).gpus[0].inventory
        await kernel.print_lines(host.kernel_log, [kernel.xid(gpu, 79, "GPU has fallen off the bus.")])
        await until(lambda: ill(admin, host))
        goal = await admin.goals.create("gpu-a-17 keeps throwing Xid 79, sort it out")
        await until(lambda: repairs(admin))
        fleet.control_plane.kill()
        await fleet.start_control_plane()
        await admin.agents.resume(HEALER)
        done = await admin.goals.wait(goal.id)
        assert done.goal.state is GoalState.SUCCEEDED, done.goal
        assert "ready again" in done.goal.result
        (repair,) = await repairs(admin)
        assert repair.state is ActionState.DONE
        view = await admin.agents.run((await run_of(admin, goal.id)).id)
        assert view.run.state is RunState.SUCCEEDED
        assert [event.sequence for event in view.events] == list(range(1, len(view.events) + 1))


async def test_a_question_is_answered_while_its_asker_waits(quick_fleet: Callable[..., Fleet]) -> None:
    async with quick_fleet() as fleet:
        admin = await fleet.client()
        await fleet.add_host(admin, "gpu-a-17", "2xH100")
        goal = await admin.goals.create("how many H100 idle?")
        assert goal.state is GoalState.SUCCEEDED
        assert "2 of 2 H100 idle" in goal.result
        run = await run_of(admin, goal.id)
        assert (run.state, run.reasoner) == (RunState.SUCCEEDED, "rules")
