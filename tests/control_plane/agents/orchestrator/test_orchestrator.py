"""From a goal's text to what becomes of it. Plans are given by a table, so that each test says what was understood."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

import pytest

from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.agents.scheduler import Scheduler
from control_plane.errors import (
    AlreadyExists,
    InvalidArgument,
    PermissionDenied,
    PreconditionFailed,
    ResourceExhausted,
)
from control_plane.governor.ruling import PROTECTED_LABEL
from control_plane.model.account import User
from control_plane.model.action import Action, ActionState
from control_plane.model.goal import Goal, GoalState
from control_plane.model.identity import Principal, Role
from control_plane.model.job import ExitReason, Job, JobState
from control_plane.model.plan import (
    Budget,
    BudgetPeriod,
    Constraints,
    GpuRequest,
    Infeasible,
    InfeasibleCode,
    Intent,
    Plan,
    PlannedJob,
    Question,
    QuestionReason,
    Refusal,
    RefusalCode,
    Targets,
)
from control_plane.store import actions, goals, jobs, users
from control_plane.store.actions import ActionFilter
from control_plane.store.goals import GoalFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.world import DEFAULTS, ENDED, LIMITS, World, principal

HOUR_OF_H100 = Decimal("3.99")


def planned(
    name: str = "train", *, gpu: int = 1, seconds: int | None = 3600, needs: tuple[str, ...] = ()
) -> PlannedJob:
    return PlannedJob(
        name, Intent.TRAIN, GpuRequest("H100", gpu), command="true", max_seconds=seconds, depends_on=needs
    )


def launch(*planned_jobs: PlannedJob, budget_usd: int | None = None) -> Plan:
    budget = None
    if budget_usd is not None:
        budget = Budget(Decimal(budget_usd), "USD", BudgetPeriod.TOTAL, Decimal(budget_usd))
    return Plan(Intent.TRAIN, "train something", planned_jobs or (planned(),), constraints=Constraints(budget=budget))


ASK_GPUS = Question("jobs[0].gpu.count", "How many GPUs?", QuestionReason.MISSING)
PLANS: dict[str, Plan] = {
    "train": launch(),
    "train for $3": launch(budget_usd=3),
    "train for $30": launch(budget_usd=30),
    "train for weeks": launch(planned(gpu=8, seconds=3600 * 40)),
    "chain": launch(planned("first"), planned("second", needs=("first",)), planned("third", needs=("second", "first"))),
    "circle": launch(planned("a", needs=("b",)), planned("b", needs=("a",))),
    "how many?": Plan(Intent.TRAIN, "train on some GPUs", (planned(),), questions=(ASK_GPUS,)),
    "delete all": Plan(
        Intent.UNSAFE, "delete", refusal=Refusal(RefusalCode.DESTRUCTIVE, "would delete other people's data")
    ),
    "by yesterday": Plan(
        Intent.TRAIN,
        "train",
        (planned(),),
        infeasible=Infeasible(InfeasibleCode.DEADLINE_PASSED, "yesterday is over"),
    ),
    "only plan": Plan(Intent.TRAIN, "train on 1 H100", (planned(),), plan_only=True),
    "what did I spend?": Plan(Intent.COST, "costs"),
    "what is free?": Plan(Intent.QUERY, "state of the fleet"),
    "fix it": Plan(Intent.HEAL, "repair"),
    "hm": Plan(Intent.AMBIGUOUS, "unclear"),
}


def plan_by_table(
    text: str,
    *,
    now: datetime,
    timezone: tzinfo,
    fx_usd: Mapping[str, Decimal],
    floor_price_usd_per_hour: Mapping[str, Decimal],
    answers: Mapping[str, str],
) -> Plan:
    if text.startswith("cancel "):
        return Plan(Intent.CANCEL, text, targets=Targets(job_ids=(text.removeprefix("cancel "),)))
    if text == "how many?" and ASK_GPUS.field in answers:
        return launch(planned(gpu=int(answers[ASK_GPUS.field])))
    if text == "how many, for weeks?" and ASK_GPUS.field in answers:
        return launch(planned(gpu=int(answers[ASK_GPUS.field]), seconds=3600 * 40))
    if text.startswith("how many to cancel of ") and ASK_GPUS.field in answers:
        return Plan(Intent.CANCEL, text, targets=Targets(job_ids=(text.removeprefix("how many to cancel of "),)))
    if text.startswith("how many"):
        return PLANS["how many?"]
    return PLANS[text]


def cancel_all(text: str, **_: object) -> Plan:
    return Plan(Intent.CANCEL, text, targets=Targets(all_of_mine=True))


class Desk:
    """Somebody who asks for things."""

    def __init__(self, world: World, ada: Principal) -> None:
        self.world = world
        self.ada = ada
        self.orchestrator = Orchestrator(
            world.store, world.governor, defaults=DEFAULTS, clock=world.clock, planner=plan_by_table
        )
        self.scheduler = Scheduler(world.store, world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user)

    async def ask(
        self, text: str, *, budget_usd: Decimal | None = None, request_id: str = "r-1", who: Principal | None = None
    ) -> Goal:
        return await self.orchestrator.create_goal(
            who or self.ada, text=text, request_id=request_id, budget_usd=budget_usd, timezone="Europe/Madrid"
        )

    async def jobs(self, goal: Goal) -> tuple[Job, ...]:
        return await self.world.store.read(lambda tx: jobs.of_goal(tx, goal.id))

    async def waiting(self, goal: Goal) -> Action:
        (action,) = await self.world.store.read(lambda tx: actions.awaiting(tx, goal.id))
        return action

    async def cancel(self, goal: Goal, *, who: Principal | None = None, request_id: str = "c-1") -> Goal:
        return await self.orchestrator.cancel(who or self.ada, goal.id, reason="enough", request_id=request_id)

    async def account(self) -> User:
        return await self.world.store.read(lambda tx: users.require(tx, self.ada.user_id))


@pytest.fixture
async def desk(any_world: World) -> Desk:
    return Desk(any_world, principal(await any_world.user(budget_usd=2000)))


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


async def test_a_question_is_asked_and_its_answer_starts_the_work_once(desk: Desk) -> None:
    goal = await desk.ask("how many?")
    assert (goal.state, goal.status_reason) == (GoalState.NEEDS_INPUT, "How many GPUs?")
    answers = {ASK_GPUS.field: "2"}
    running = await desk.orchestrator.answer(desk.ada, goal.id, answers, "a-1")
    again = await desk.orchestrator.answer(desk.ada, goal.id, answers, "a-1")
    assert running.state is again.state is GoalState.RUNNING
    (job,) = await desk.jobs(goal)
    assert job.spec.resources.gpu_count == 2
    with pytest.raises(PreconditionFailed) as refused:
        await desk.orchestrator.answer(desk.ada, goal.id, answers, "a-2")
    assert refused.value.reason == "GOAL_ASKS_NOTHING"


async def test_an_answer_to_what_was_not_asked_is_refused_and_changes_nothing(desk: Desk) -> None:
    goal = await desk.ask("how many?")
    with pytest.raises(InvalidArgument) as refused:
        await desk.orchestrator.answer(desk.ada, goal.id, {"constraints.budget": "7"}, "a-1")
    assert refused.value.reason == "ANSWER_UNKNOWN"
    assert await desk.world.goal_now(goal) == goal


async def test_an_operators_answer_spends_the_owners_money_not_the_operators(desk: Desk) -> None:
    goal = await desk.ask("how many?")
    operator = await desk.world.principal("olga")
    await desk.orchestrator.answer(operator, goal.id, {ASK_GPUS.field: "1"}, "a-1")
    (job,) = await desk.jobs(goal)
    assert job.user_id == goal.user_id
    owner = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(goal_id=goal.id), PageRequest()))
    assert {action.user_id for action in owner.items} == {goal.user_id}


async def test_who_answered_a_goal_does_not_approve_it(desk: Desk) -> None:
    goal = await desk.ask("how many, for weeks?")
    olga, otto = await desk.world.principal("olga"), await desk.world.principal("otto")
    await desk.orchestrator.answer(olga, goal.id, {ASK_GPUS.field: "8"}, "a-1")
    action = await desk.waiting(goal)
    with pytest.raises(PermissionDenied) as refused:
        await desk.world.governor.approve(action.id, approver=olga, hash=action.hash, reason="fine")
    assert refused.value.reason == "SELF_APPROVAL"
    await desk.world.governor.approve(action.id, approver=otto, hash=action.hash, reason="fine")
    assert (await desk.world.goal_now(goal)).state is GoalState.RUNNING


async def test_an_operators_answer_lends_a_goal_no_right_to_cancel_what_is_not_its_owners(desk: Desk) -> None:
    (job,) = await desk.jobs(await desk.ask("train"))
    eve, olga = principal(await desk.world.user("eve")), await desk.world.principal("olga")
    goal = await desk.ask(f"how many to cancel of {job.id}", who=eve)
    answered = await desk.orchestrator.answer(olga, goal.id, {ASK_GPUS.field: "1"}, "a-1")
    assert "is not yours" in answered.result
    own = await desk.ask(f"cancel {job.id}", who=olga)
    assert own.state is GoalState.SUCCEEDED


async def test_strangers_neither_answer_nor_cancel(desk: Desk) -> None:
    goal = await desk.ask("how many?")
    eve = principal(await desk.world.user("eve"))
    with pytest.raises(PermissionDenied):
        await desk.orchestrator.answer(eve, goal.id, {ASK_GPUS.field: "1"}, "a-1")
    with pytest.raises(PermissionDenied):
        await desk.cancel(goal, who=eve)


async def test_a_dear_goal_waits_for_approval_and_runs_once_it_is_given(desk: Desk) -> None:
    goal = await desk.ask("train for weeks")
    assert goal.state is GoalState.AWAITING_APPROVAL
    action = await desk.waiting(goal)
    assert action.id in goal.status_reason
    operator = await desk.world.principal("olga")
    await desk.world.governor.approve(action.id, approver=operator, hash=action.hash, reason="fine")
    assert (await desk.world.goal_now(goal)).state is GoalState.RUNNING
    assert len(await desk.jobs(goal)) == 1


async def test_a_goal_that_waits_for_approval_can_be_cancelled_and_then_not_approved(desk: Desk) -> None:
    goal = await desk.ask("train for weeks")
    action = await desk.waiting(goal)
    assert (await desk.cancel(goal)).state is GoalState.CANCELLED
    operator = await desk.world.principal("olga")
    with pytest.raises(PreconditionFailed):
        await desk.world.governor.approve(action.id, approver=operator, hash=action.hash, reason="")
    kept = await desk.world.store.read(lambda tx: actions.require(tx, action.id))
    assert kept.state is ActionState.SUPERSEDED
    assert await desk.jobs(goal) == ()


async def test_a_goal_that_asks_can_be_cancelled(desk: Desk) -> None:
    assert (await desk.cancel(await desk.ask("how many?"))).state is GoalState.CANCELLED


async def test_cancelling_queued_jobs_gives_their_money_back_at_once(desk: Desk) -> None:
    goal = await desk.ask("chain")
    cancelled = await desk.cancel(goal)
    assert cancelled.state is GoalState.CANCELLED
    assert {job.state for job in await desk.jobs(goal)} == {JobState.CANCELLED}
    assert {job.status_reason for job in await desk.jobs(goal)} == {"enough"}
    account = await desk.account()
    assert account.reserved_usd == 0


async def test_cancelling_running_jobs_waits_for_their_hosts_and_charges_what_ran(desk: Desk) -> None:
    await desk.world.node()
    goal = await desk.ask("chain")
    await desk.scheduler.round()
    stopping = await desk.cancel(goal)
    assert (stopping.state, stopping.status_reason) == (GoalState.RUNNING, "is being cancelled: enough")
    first = (await desk.jobs(goal))[0]
    await desk.world.report_of(first.id, ENDED, ExitReason.STOPPED, gpu_seconds=360)
    assert (await desk.world.goal_now(goal)).state is GoalState.CANCELLED
    account = await desk.account()
    assert (account.spent_usd, account.reserved_usd) == (Decimal("0.399"), Decimal(0))


async def test_cancelling_twice_is_cancelling_once(desk: Desk) -> None:
    await desk.world.node()
    goal = await desk.ask("train")
    await desk.scheduler.round()
    await desk.cancel(goal)
    await desk.cancel(goal, request_id="c-2")
    recorded = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(goal_id=goal.id), PageRequest()))
    assert [action.kind for action in recorded.items] == ["stop_job", "launch_jobs"]
    (job,) = await desk.jobs(goal)
    await desk.world.report_of(job.id, ENDED, ExitReason.STOPPED)
    ended = await desk.cancel(goal, request_id="c-3")
    assert ended.state is GoalState.CANCELLED


async def test_what_needs_a_failed_job_is_cancelled_and_the_goal_fails(desk: Desk) -> None:
    await desk.world.node()
    goal = await desk.ask("chain")
    await desk.scheduler.round()
    first = (await desk.jobs(goal))[0]
    await desk.world.report_of(first.id, ENDED, ExitReason.EXITED, exit_code=2)
    failed = await desk.world.goal_now(goal)
    assert (failed.state, failed.status_reason) == (GoalState.FAILED, "first failed: on alpha: exit code 2")
    assert [job.state.value for job in await desk.jobs(goal)] == ["failed", "cancelled", "cancelled"]


async def test_a_goal_can_cancel_a_job_by_name_but_not_a_strangers(desk: Desk) -> None:
    goal = await desk.ask("train")
    (job,) = await desk.jobs(goal)
    eve = principal(await desk.world.user("eve"))
    refused = await desk.ask(f"cancel {job.id}", who=eve)
    assert "is not yours" in refused.result
    assert (await desk.jobs(goal))[0].state is JobState.QUEUED
    done = await desk.ask(f"cancel {job.id}", request_id="r-2")
    assert done.state is GoalState.SUCCEEDED
    assert (await desk.jobs(goal))[0].state is JobState.CANCELLED


async def test_a_flood_of_slow_goals_is_refused_beyond_a_bound_and_the_rest_is_planned(desk: Desk) -> None:
    planning, at_once, go = 0, 0, threading.Event()

    def slow(text: str, **_: object) -> Plan:
        nonlocal planning, at_once
        planning += 1
        at_once = max(at_once, planning)
        go.wait(20)
        planning -= 1
        return PLANS["only plan"]

    desk.orchestrator._planner = slow
    asked = [asyncio.ensure_future(desk.ask("only plan", request_id=f"r-{number}")) for number in range(100)]
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    async with asyncio.timeout(15):
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


async def test_all_of_ones_own_jobs_are_cancelled_each_by_an_action_and_nobody_elses(desk: Desk) -> None:
    chain, single = await desk.ask("chain"), await desk.ask("train", request_id="r-2")
    eve = principal(await desk.world.user("eve", budget_usd=100))
    hers = await desk.ask("train", who=eve)
    await desk.world.node()
    await desk.scheduler.round()
    desk.orchestrator._planner = cancel_all
    done = await desk.ask("cancel all my jobs", request_id="r-3")
    assert done.state is GoalState.SUCCEEDED
    recorded = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(goal_id=done.id), PageRequest()))
    assert [(action.kind, action.state.value) for action in recorded.items] == [("stop_job", "done")] * 4
    for job in (*await desk.jobs(chain), *await desk.jobs(single)):
        assert job.state is JobState.CANCELLED or job.cancel_requested
        assert job.id in done.result
    (other,) = await desk.jobs(hers)
    assert not other.state.ended
    assert not other.cancel_requested
    again = await desk.ask("cancel all my jobs", request_id="r-4")
    assert again.result.count("is being stopped already") == done.result.count("stopping ") > 0


async def test_who_has_no_job_to_cancel_is_told_so(desk: Desk) -> None:
    desk.orchestrator._planner = cancel_all
    done = await desk.ask("cancel all my jobs")
    assert (done.state, done.result) == (GoalState.SUCCEEDED, "you have no job that has not ended")


@pytest.mark.parametrize("for_agent", [False, True])
async def test_what_an_agents_credential_stops_is_no_persons_act(desk: Desk, for_agent: bool) -> None:
    (job,) = await desk.jobs(await desk.ask("train"))
    goal = await desk.ask(f"cancel {job.id}", who=replace(desk.ada, for_agent=for_agent), request_id="r-2")
    recorded = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(goal_id=goal.id), PageRequest()))
    assert [action.is_person for action in recorded.items] == [not for_agent]


async def test_a_stop_that_waits_for_approval_says_how_to_approve_it(desk: Desk) -> None:
    await desk.world.node(labels=dict([PROTECTED_LABEL]))
    (job,) = await desk.jobs(await desk.ask("train"))
    await desk.scheduler.round()
    goal = await desk.ask(f"cancel {job.id}", request_id="r-2")
    action = await desk.waiting(goal)
    assert goal.result == f"{action.summary}: needs approval: orquanta action approve {action.id}"
