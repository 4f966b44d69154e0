"""Tools that tell money: what was spent, what is left, what GPUs cost."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, WithJsonSchema, model_validator

from control_plane.errors import PermissionDenied
from control_plane.model.identity import Principal, Role
from control_plane.store import goals, spending, users
from control_plane.store.database import Tx
from control_plane.store.spending import SpendingFilter, SpendingKey
from control_plane.tools.arguments import Input
from control_plane.tools.definition import Found, ReadTool, Sources
from control_plane.tools.output import Line, Moment, Number, Output, Part, Token, Usd
from control_plane.tools.references import GoalReference, Limit, Person, TeamName, goal_id, team_path, user_id

Time = Annotated[AwareDatetime, WithJsonSchema({"type": "string", "maxLength": 40})]
"""A time with its zone: "2026-10-01T00:00:00Z"."""

_PEOPLE_TOLD = 20


class Costs(Input):
    """Whose spending, since when, added up by what. Without `since`, of the last `days`."""

    by: Literal["user", "team", "goal", "job", "day", "gpu_type"] = "user"
    team: TeamName | None = None
    who: Annotated[
        str | None,
        Field(min_length=1, max_length=254, description='"me", an e-mail address, or a part of it such as "@vision."'),
    ] = None
    days: Annotated[int, Field(ge=1, le=3_660, description="Attempts begun within the last days")] = 30
    since: Annotated[Time | None, Field(description='Attempts begun from then on, such as "2026-10-01T00:00:00Z"')] = (
        None
    )
    until: Annotated[Time | None, Field(description="Only attempts begun before then")] = None
    limit: Limit = 50

    @model_validator(mode="after")
    def _in_order(self) -> "Costs":
        if self.since is not None and self.until is not None and self.until < self.since:
            raise ValueError("until is before since")
        return self


class CostLine(Part):
    """One sum. `key` is an address, a team, a goal's or job's id ("" for none), a day (UTC) or a GPU model."""

    key: Line
    cost_usd: Usd
    attempts: int
    gpu_hours: Number


class CostsOut(Output):
    """What was spent, the largest sums first (days newest first).

    An attempt counts when it has ended; `reserved_usd` is kept back for those that run or wait. `people` are the
    addresses that were meant, at most 20, `team` the team; a job is its owner's team's as it was when it was submitted.
    """

    by: str
    team: Line
    since: Moment
    until: Moment
    total_usd: Usd
    reserved_usd: Usd
    people: tuple[Line, ...]
    lines: tuple[CostLine, ...]


class BudgetLeft(Input):
    """Whose budget; without either, the caller's own."""

    user: Annotated[Person | None, Field(description='"me" or an e-mail address; others\' for an admin')] = None
    goal: GoalReference | None = None


class BudgetOut(Output):
    """A budget. Null means no limit; `left_usd` is what may still be reserved."""

    whose: Line
    budget_usd: Usd | None
    spent_usd: Usd
    reserved_usd: Usd
    left_usd: Usd | None


class Prices(Input):
    """Takes nothing."""


class PriceLine(Part):
    """The price of one GPU for one hour; "any_other" is for models without one of their own."""

    gpu_type: Token
    usd_per_gpu_hour: Usd
    source: Line
    as_of: Line


class PricesOut(Output):
    """All prices, dearest first."""

    prices: tuple[PriceLine, ...]


async def _costs(sources: Sources, principal: Principal, wanted: Costs) -> Found[CostsOut]:
    who = principal.email if wanted.who == "me" else (wanted.who or "")
    now = sources.clock.now()
    until = now if wanted.until is None else wanted.until
    since = wanted.since or until - timedelta(days=wanted.days)

    def read(tx: Tx) -> CostsOut:
        team = team_path(tx, wanted.team) if wanted.team is not None else ""
        which = SpendingFilter(since, who, wanted.until, team)
        return CostsOut(
            by=wanted.by,
            team=team,
            since=which.since,
            until=until,
            total_usd=spending.total_usd(tx, which),
            reserved_usd=spending.reserved_usd(tx, which),
            people=spending.people(tx, which, limit=_PEOPLE_TOLD),
            lines=tuple(
                CostLine(key=one.key, cost_usd=one.cost_usd, attempts=one.attempts, gpu_hours=one.gpu_seconds / 3600)
                for one in spending.by(tx, SpendingKey(wanted.by), which, limit=wanted.limit)
            ),
        )

    output = await sources.store.read(read)
    return Found(output, f"costs:{since:%Y-%m-%d}", empty=not output.lines)


async def _budget(sources: Sources, principal: Principal, wanted: BudgetLeft) -> Found[BudgetOut]:
    def of_goal(tx: Tx, goal: str) -> BudgetOut:
        found = goals.require(tx, goal_id(goal))
        bill = goals.bill(tx, found.id)
        committed = bill.cost_usd + bill.reserved_usd
        return _told(found.id, found.budget_usd, bill.cost_usd, bill.reserved_usd, committed)

    def read(tx: Tx) -> BudgetOut:
        if wanted.goal is not None:
            return of_goal(tx, wanted.goal)
        whose = user_id(tx, wanted.user or "me", principal)
        if whose != principal.user_id and not principal.role.allows(Role.ADMIN):
            raise PermissionDenied("only an admin sees other people's budgets", reason="ROLE_TOO_LOW")
        user = users.require(tx, whose)
        return _told(user.email, user.budget_usd, user.spent_usd, user.reserved_usd, user.spent_usd + user.reserved_usd)

    return Found(await sources.store.read(read), "budget")


def _told(whose: str, budget: Decimal | None, spent: Decimal, reserved: Decimal, committed: Decimal) -> BudgetOut:
    left = None if budget is None else max(budget - committed, Decimal(0))
    return BudgetOut(whose=whose, budget_usd=budget, spent_usd=spent, reserved_usd=reserved, left_usd=left)


async def _prices(sources: Sources, _principal: Principal, _wanted: Prices) -> Found[PricesOut]:
    ordered = sorted(sources.prices.prices, key=lambda price: (-price.usd_per_gpu_hour, price.gpu_type))
    lines = tuple(
        PriceLine(
            gpu_type=price.gpu_type if price.gpu_type != "*" else "any_other",
            usd_per_gpu_hour=price.usd_per_gpu_hour,
            source=price.source,
            as_of=price.as_of,
        )
        for price in ordered
    )
    return Found(PricesOut(prices=lines), "prices")


COSTS = ReadTool(
    name="costs",
    description="Adds up what was spent on GPUs, by person, team, goal, job, day or GPU model, in any period, for a "
    'team or for all people whose address holds a text. Answers "what did we spend in October?".',
    arguments=Costs,
    result=CostsOut,
    read=_costs,
    untrusted=False,
)
BUDGET_LEFT = ReadTool(
    name="budget_left",
    description="Tells how much of a budget is left: the caller's own, or a goal's; other people's for an admin.",
    arguments=BudgetLeft,
    result=BudgetOut,
    read=_budget,
    untrusted=False,
)
PRICES = ReadTool(
    name="prices",
    description="Lists what one GPU of each model costs for an hour.",
    arguments=Prices,
    result=PricesOut,
    read=_prices,
    untrusted=False,
)
