"""Tokens and money that models cost, by tenant, goal, run and day; money is reserved before it is spent."""

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlmodel import col

from control_plane.model.ids import GoalId, RunId, UserId
from control_plane.store.database import Tx
from control_plane.store.usage_tables import ModelFeaturesRow, ModelUsageRow

KEPT_DAYS = 400
"""Older usage is deleted when a control plane starts."""


@dataclass(frozen=True, slots=True)
class UsageKey:
    """What usage is counted by. `user_id` is the tenant; None stands for the control plane's own agents."""

    user_id: UserId | None
    goal_id: GoalId | None
    run_id: RunId | None
    agent_name: str
    model: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used. Money is in millionths of a US dollar; `reserved` may yet be spent by calls that go on."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd_micros: int
    reserved_usd_micros: int

    @property
    def tokens(self) -> int:
        """Of prompts and replies together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for one call, on the day it began."""

    key: UsageKey
    day: str
    cost_usd_micros: int


@dataclass(frozen=True, slots=True)
class EndpointFeatures:
    """What an endpoint was found to be able to do with its model; the reasoning engine knows what each means."""

    mode: str
    tools: bool
    streams: bool
    stream_usage: bool
    stream_tools: bool
    string_bounds: bool
    completion_limit: bool
    temperature: bool
    probed_at: datetime


@dataclass(frozen=True, slots=True)
class TooLittleLeft:
    """What a tenant has left for the day, in millionths of a US dollar."""

    left_usd_micros: int


def reserve(tx: Tx, key: UsageKey, cost_usd_micros: int, *, per_day_usd_micros: int) -> Reservation | TooLittleLeft:
    """Set money aside for a call, if the tenant's day has as much left beside what is spent and set aside already.

    A call that costs nothing is always possible.
    """
    day = _day(tx.now)
    if cost_usd_micros > 0:
        used = _sum(tx, col(ModelUsageRow.day) == day, col(ModelUsageRow.user_id) == (key.user_id or ""))
        left = per_day_usd_micros - used.cost_usd_micros - used.reserved_usd_micros
        if cost_usd_micros > left:
            return TooLittleLeft(max(0, left))
    row = _row(tx, key, day)
    row.reserved_usd_micros += cost_usd_micros
    tx.session.add(row)
    return Reservation(key, day, cost_usd_micros)


def settle(
    tx: Tx, reservation: Reservation, *, input_tokens: int, output_tokens: int, cost_usd_micros: int, calls: int = 1
) -> None:
    """Count what a call did cost and give back what was set aside for it."""
    row = _row(tx, reservation.key, reservation.day)
    row.reserved_usd_micros = max(0, row.reserved_usd_micros - reservation.cost_usd_micros)
    row.calls += calls
    row.input_tokens += input_tokens
    row.output_tokens += output_tokens
    row.cost_usd_micros += cost_usd_micros
    tx.session.add(row)


def settle_all(tx: Tx) -> int:
    """Count as spent what a control plane that ended had set aside, as its calls may have been made.

    Returns how much, in millionths of a US dollar. Also deletes usage older than KEPT_DAYS.
    """
    reserved = _sum(tx, col(ModelUsageRow.reserved_usd_micros) > 0).reserved_usd_micros
    if reserved:
        statement = update(ModelUsageRow).where(col(ModelUsageRow.reserved_usd_micros) > 0)
        tx.session.execute(
            statement.values(
                cost_usd_micros=ModelUsageRow.cost_usd_micros + ModelUsageRow.reserved_usd_micros, reserved_usd_micros=0
            )
        )
    oldest = _day(tx.now - timedelta(days=KEPT_DAYS))
    tx.session.execute(delete(ModelUsageRow).where(col(ModelUsageRow.day) < oldest))
    return reserved


def of_day(tx: Tx, day: date | None = None) -> Usage:
    """Return what all tenants used on a day, in UTC; today if none is named."""
    return _sum(tx, col(ModelUsageRow.day) == (day.isoformat() if day else _day(tx.now)))


def of_tenant(tx: Tx, user_id: UserId | None, day: date | None = None) -> Usage:
    """Return what a tenant used on a day, in UTC; today if none is named."""
    when = day.isoformat() if day else _day(tx.now)
    return _sum(tx, col(ModelUsageRow.day) == when, col(ModelUsageRow.user_id) == (user_id or ""))


def of_goal(tx: Tx, goal_id: GoalId) -> Usage:
    """Return what a goal used over all days."""
    return _sum(tx, col(ModelUsageRow.goal_id) == goal_id)


def of_run(tx: Tx, run_id: RunId) -> Usage:
    """Return what a run used over all days."""
    return _sum(tx, col(ModelUsageRow.run_id) == run_id)


def features(tx: Tx, endpoint_key: str) -> EndpointFeatures | None:
    """Return what an endpoint was found to be able to do, or None."""
    row = tx.session.get(ModelFeaturesRow, endpoint_key)
    return None if row is None else EndpointFeatures(**row.model_dump(exclude={"endpoint_key"}))


def keep_features(tx: Tx, endpoint_key: str, found: EndpointFeatures) -> None:
    """Keep what an endpoint was found to be able to do."""
    tx.session.merge(ModelFeaturesRow(endpoint_key=endpoint_key, **asdict(found)))


def _day(when: datetime) -> str:
    return when.date().isoformat()


def _row(tx: Tx, key: UsageKey, day: str) -> ModelUsageRow:
    user_id, goal_id, run_id = key.user_id or "", key.goal_id or "", key.run_id or ""
    return tx.session.get(ModelUsageRow, (day, user_id, goal_id, run_id, key.agent_name, key.model)) or ModelUsageRow(
        day=day, user_id=user_id, goal_id=goal_id, run_id=run_id, agent_name=key.agent_name, model=key.model
    )


def _sum(tx: Tx, *conditions: ColumnElement[bool]) -> Usage:
    tx.session.flush()
    columns = (
        ModelUsageRow.calls,
        ModelUsageRow.input_tokens,
        ModelUsageRow.output_tokens,
        ModelUsageRow.cost_usd_micros,
        ModelUsageRow.reserved_usd_micros,
    )
    row = tx.session.execute(select(*(func.coalesce(func.sum(column), 0) for column in columns)).where(*conditions))
    return Usage(*(int(value) for value in row.one()))
