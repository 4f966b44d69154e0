"""Somebody who asks for things. Plans are given by a table, so that each test says what was understood."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import Decimal

from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.agents.scheduler import Scheduler
from control_plane.model.account import User
from control_plane.model.action import Action
from control_plane.model.goal import Goal
from control_plane.model.identity import Principal
from control_plane.model.job import Job
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
from control_plane.store import actions, jobs, users
from tests.control_plane.world import DEFAULTS, LIMITS, World

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
