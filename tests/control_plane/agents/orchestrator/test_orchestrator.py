"""From a goal's text to what becomes of it."""

import asyncio
import threading
from datetime import UTC, timedelta
from decimal import Decimal

import pytest

from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.errors import (
    AlreadyExists,
    InvalidArgument,
    ResourceExhausted,
)
from control_plane.model.goal import GoalState
from control_plane.model.identity import Role
from control_plane.model.job import ExitReason
from control_plane.model.plan import (
    Constraints,
    Intent,
    Plan,
)
from control_plane.store import actions, goals, jobs
from control_plane.store.actions import ActionFilter
from control_plane.store.goals import GoalFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.agents.orchestrator.desk import (
    HOUR_OF_H100,
    PLANS,
    Desk,
    planned,
)
from tests.control_plane.world import DEFAULTS, ENDED, World, principal


async def test_a_goal_becomes_jobs_and_runs_to_its_result_and_bill(desk: Desk) -> None:
    await desk.world.node()
    goal = await desk.ask("train")
    assert goal.state is GoalState.RUNNING
    (job,) = await desk.jobs(goal)
    assert (job.spec.name, job.spec.command, job.spec.template) == ("train", "true", "")
    await desk.scheduler.round()
    await desk.world.report_of(job.id, ENDED, ExitReason.EXITED, exit_code=0, gpu_seconds=1800)
    done = await desk.world.goal_now(goal)
    assert done.state is GoalState.SUCCEEDED
    assert "cost $2.00 for 1,800.0 GPU-seconds" in done.result
    bill = await desk.world.store.read(lambda tx: goals.bill(tx, goal.id))
    assert (bill.cost_usd, bill.reserved_usd, bill.lines[0].gpu_count) == (Decimal("1.995"), Decimal(0), 1)


async def test_creating_twice_with_one_request_id_is_creating_once(desk: Desk) -> None:
    first, second = await asyncio.gather(desk.ask("train"), desk.ask("train"))
    assert first.id == second.id
    everything = await desk.world.store.read(lambda tx: goals.page(tx, GoalFilter(), PageRequest()))
    assert len(everything.items) == 1
    assert len(await desk.jobs(first)) == 1


async def test_a_request_id_of_another_goal_is_refused(desk: Desk) -> None:
    await desk.ask("train")
    with pytest.raises(AlreadyExists) as refused:
        await desk.ask("chain")
    assert refused.value.reason == "REQUEST_ID_REUSED"


async def test_two_people_may_use_the_same_request_id(desk: Desk) -> None:
    eve = principal(await desk.world.user("eve"))
    assert (await desk.ask("train")).id != (await desk.ask("train", who=eve)).id


@pytest.mark.parametrize(
    ("text", "request_usd", "allowed"),
    [
        ("train for $30", None, True),
        ("train for $3", None, False),
        ("train", Decimal(3), False),
        ("train", Decimal(4), True),
        ("train for $30", Decimal(3), False),
        ("train for $3", Decimal(30), False),
    ],
)
async def test_of_a_budget_in_the_text_and_one_in_the_request_the_stricter_holds(
    desk: Desk, text: str, request_usd: Decimal | None, allowed: bool
) -> None:
    goal = await desk.ask(text, budget_usd=request_usd)
    assert goal.state is (GoalState.RUNNING if allowed else GoalState.REFUSED)
    assert allowed or "more than the goal's budget of $3.00" in goal.status_reason


@pytest.mark.parametrize(
    ("text", "state", "said"),
    [
        ("delete all", GoalState.REFUSED, "would delete other people's data"),
        ("by yesterday", GoalState.FAILED, "yesterday is over"),
        ("only plan", GoalState.SUCCEEDED, "plan only, nothing was run: train on 1 H100"),
        ("what did I spend?", GoalState.SUCCEEDED, "ada@example.com has spent $0.00"),
        ("what is free?", GoalState.SUCCEEDED, "8 of 8 H100 free"),
        ("fix it", GoalState.FAILED, "repairs by goal are not available"),
        ("hm", GoalState.FAILED, "it is not clear what to do"),
        ("circle", GoalState.FAILED, "wait for each other"),
    ],
)
async def test_a_goal_that_runs_nothing_says_why_and_leaves_nothing_behind(
    desk: Desk, text: str, state: GoalState, said: str
) -> None:
    await desk.world.node()
    goal = await desk.ask(text)
    assert goal.state is state
    assert said in goal.result
    assert await desk.jobs(goal) == ()
    recorded = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(), PageRequest()))
    assert recorded.items == ()
    assert (await desk.world.audit(goal_id=goal.id))[-1].action == f"goal.{state.value}"


async def test_a_dear_goal_waits_for_approval_and_runs_once_it_is_given(desk: Desk) -> None:
    goal = await desk.ask("train for weeks")
    assert goal.state is GoalState.AWAITING_APPROVAL
    action = await desk.waiting(goal)
    assert action.id in goal.status_reason
    operator = await desk.world.principal("olga")
    await desk.world.governor.approve(action.id, approver=operator, hash=action.hash, reason="fine")
    assert (await desk.world.goal_now(goal)).state is GoalState.RUNNING
    assert len(await desk.jobs(goal)) == 1


async def test_what_needs_a_failed_job_is_cancelled_and_the_goal_fails(desk: Desk) -> None:
    await desk.world.node()
    goal = await desk.ask("chain")
    await desk.scheduler.round()
    first = (await desk.jobs(goal))[0]
    await desk.world.report_of(first.id, ENDED, ExitReason.EXITED, exit_code=2)
    failed = await desk.world.goal_now(goal)
    assert (failed.state, failed.status_reason) == (GoalState.FAILED, "first failed: on alpha: exit code 2")
    assert [job.state.value for job in await desk.jobs(goal)] == ["failed", "cancelled", "cancelled"]


async def test_a_flood_of_slow_goals_is_refused_beyond_a_bound_and_the_rest_is_planned(desk: Desk) -> None:
    planning, at_once, go, counting = 0, 0, threading.Event(), threading.Lock()

    def slow(text: str, **_: object) -> Plan:
        nonlocal planning, at_once
        with counting:
            planning += 1
            at_once = max(at_once, planning)
        go.wait(60)
        with counting:
            planning -= 1
        return PLANS["only plan"]

    desk.orchestrator._planner = slow
    asked = [asyncio.ensure_future(desk.ask("only plan", request_id=f"r-{number}")) for number in range(100)]
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    async with asyncio.timeout(30):
        while at_once < 2:  # noqa: ASYNC110 - the count is kept by threads, which cannot set an asyncio event
            await asyncio.sleep(0.01)
    go.set()
    assert all(isinstance(one.exception(), ResourceExhausted) for one in done)
    goals_or_errors = await asyncio.gather(*asked, return_exceptions=True)
    refused = [one for one in goals_or_errors if isinstance(one, ResourceExhausted)]
    assert (len(refused), at_once) == (36, 2)


async def test_an_unknown_time_zone_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await desk.orchestrator.create_goal(
            desk.ada, text="train", request_id="r", budget_usd=None, timezone="Mars/Olympus"
        )
    assert refused.value.reason == "TIMEZONE_UNKNOWN"


async def test_a_job_is_cut_at_the_deadline(desk: Desk) -> None:
    deadline = desk.world.clock.now() + timedelta(minutes=30)
    PLANS["soon"] = Plan(
        Intent.TRAIN, "soon", (planned(),), constraints=Constraints(deadline_at=deadline.astimezone(UTC))
    )
    (job,) = await desk.jobs(await desk.ask("soon"))
    assert job.spec.max_runtime_seconds == 1800


def test_an_estimate_is_what_would_be_reserved(desk: Desk) -> None:
    assert desk.orchestrator.estimate_usd(PLANS["chain"]) == 3 * HOUR_OF_H100
    assert desk.orchestrator.estimate_usd(PLANS["delete all"]) == 0


async def test_the_planner_that_ships_turns_words_into_a_running_goal(any_world: World) -> None:
    user = principal(await any_world.user(role=Role.USER))
    orchestrator = Orchestrator(any_world.store, any_world.governor, defaults=DEFAULTS, clock=any_world.clock)
    goal = await orchestrator.create_goal(
        user,
        text="Train on 2 H100 for 3 hours, at most $40, `python train.py`",
        request_id="r",
        budget_usd=None,
        timezone="",
    )
    assert goal.state is GoalState.RUNNING
    (job,) = await any_world.store.read(lambda tx: jobs.of_goal(tx, goal.id))
    assert (job.spec.command, job.spec.resources.gpu_count, job.spec.max_runtime_seconds) == (
        "python train.py",
        2,
        10800,
    )
