"""Actions and the kill switch in the database."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Select, func, select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.fleet import lifecycle
from control_plane.model.action import Action, ActionState, KillSwitch
from control_plane.model.approval import ApprovalNeed
from control_plane.model.ids import ActionId, GoalId, JobId, NodeId
from control_plane.model.money import to_micros
from control_plane.model.record import Noun
from control_plane.store import action_rows, approvals
from control_plane.store.database import Tx
from control_plane.store.pages import Page, PageRequest, among, batched, newest_first
from control_plane.store.readable import readable
from control_plane.store.rows import columns, fresh
from control_plane.store.tables import ActionRow, ControlRow

_KILL_SWITCH = "kill_switch"
_ENGAGED = "engaged"
_LATER_MAX = 20
_NEWEST = "actions.newest"
_SWITCH = "actions.kill_switch"
"""Under these a transaction remembers what was read for many nodes at once, and the kill switch."""


@dataclass(frozen=True, slots=True)
class ActionFilter:
    """Which actions; empty means all."""

    states: tuple[ActionState, ...] = ()
    goal_id: GoalId | None = None


def _one(tx: Tx, row: ActionRow) -> Action:
    return _models(tx, (row,))[0]


def _models(tx: Tx, rows: Iterable[ActionRow]) -> tuple[Action, ...]:
    found = tuple(rows)
    return tuple(map(_whole(tx, found), found))


def _readable(tx: Tx, rows: Iterable[ActionRow]) -> tuple[Action, ...]:
    found = tuple(rows)
    return tuple(readable(tx, found, _whole(tx, found)))


def _whole(tx: Tx, rows: Iterable[ActionRow]) -> Callable[[ActionRow], Action]:
    """Return what makes actions of these rows, with the approvals that count; only what needed one is looked up."""
    given = approvals.of(tx, [ActionId(row.id) for row in rows if row.approval_need is not None])
    return lambda row: action_rows.model(row, given.get(ActionId(row.id), ()))


def get(tx: Tx, action_id: ActionId) -> Action | None:
    """Return the action, or None."""
    row = tx.row(ActionRow, action_id)
    return None if row is None else _one(tx, row)


def require(tx: Tx, action_id: ActionId) -> Action:
    """Return the action. Raises NotFound."""
    action = get(tx, action_id)
    if action is None:
        raise NotFound(
            f"there is no action {action_id}; list them with: orquanta action list", reason="ACTION_NOT_FOUND"
        )
    return action


def page(tx: Tx, which: ActionFilter, request: PageRequest) -> Page[Action]:
    """Return a page of actions, newest first."""
    query = select(ActionRow)
    if which.states:
        query = query.where(col(ActionRow.state).in_([state.value for state in which.states]))
    if which.goal_id:
        query = query.where(col(ActionRow.goal_id) == which.goal_id)
    rows, token = newest_first(tx.session, query, request, col(ActionRow.created_at), col(ActionRow.id))
    return Page(_readable(tx, rows), token)


def about(tx: Tx, *, goal_id: GoalId | None = None, job_id: JobId | None = None, limit: int) -> tuple[Action, ...]:
    """Return the actions for a goal or about a job, oldest first, at most `limit`."""
    query = select(ActionRow)
    if goal_id is not None:
        query = query.where(col(ActionRow.goal_id) == goal_id)
    if job_id is not None:
        query = query.where(col(ActionRow.job_id) == job_id)
    return _readable(tx, tx.session.execute(query.order_by(col(ActionRow.created_at)).limit(limit)).scalars())


def count_awaiting(tx: Tx) -> int:
    """Return how many actions await approval."""
    query = select(func.count()).where(col(ActionRow.state) == ActionState.AWAITING_APPROVAL.value)
    return int(tx.session.execute(query).scalar_one())


def awaiting(tx: Tx, goal_id: GoalId | None = None) -> tuple[Action, ...]:
    """Return the actions that await approval, oldest first."""
    return in_state(tx, ActionState.AWAITING_APPROVAL, goal_id)


def in_state(tx: Tx, state: ActionState, goal_id: GoalId | None = None) -> tuple[Action, ...]:
    """Return the actions that are in a state and can be read, oldest first."""
    query = select(ActionRow).where(col(ActionRow.state) == state.value)
    if goal_id is not None:
        query = query.where(col(ActionRow.goal_id) == goal_id)
    rows = tx.session.execute(query.order_by(col(ActionRow.created_at))).scalars()
    return _readable(tx, rows)


def load_newest(tx: Tx, node_ids: Collection[NodeId], kind: str, *, proposer: str, since: datetime) -> None:
    """Read what `newest_of_node` looks at, for that time or a later one, for many nodes at once."""
    newest: dict[str, ActionRow | None] = dict.fromkeys(node_ids)
    for ids in batched(node_ids):
        query = _proposed(kind, proposer, since).where(col(ActionRow.node_id).in_(among(ids)))
        for row in tx.session.execute(query.order_by(col(ActionRow.created_at), col(ActionRow.id))).scalars():
            newest[row.node_id or ""] = row
    for node_id, found in newest.items():
        tx.know((_NEWEST, node_id, kind, proposer), (since, found))


def newest_of_node(tx: Tx, node_id: NodeId, kind: str, *, proposer: str, since: datetime) -> Action | None:
    """Return the newest action of a kind that somebody has proposed for the node since then, or None."""
    known: tuple[datetime, ActionRow | None] | None = tx.known((_NEWEST, node_id, kind, proposer))
    if known is not None and known[0] <= since:
        row = known[1] if known[1] is not None and known[1].created_at >= since else None
    else:
        query = _proposed(kind, proposer, since).where(col(ActionRow.node_id) == node_id)
        newest = query.order_by(col(ActionRow.created_at).desc(), col(ActionRow.id).desc()).limit(1)
        row = tx.session.execute(newest).scalars().first()
    return None if row is None else _one(tx, row)


def _proposed(kind: str, proposer: str, since: datetime) -> Select[ActionRow]:
    return select(ActionRow).where(
        col(ActionRow.kind) == kind, col(ActionRow.proposer) == proposer, col(ActionRow.created_at) >= since
    )


def later_of_node(tx: Tx, node_id: NodeId, after: datetime, kinds: Collection[str]) -> tuple[Action, ...]:
    """Return the actions of these kinds that were done with a node after a time, oldest first; at most 20."""
    query = select(ActionRow).where(
        col(ActionRow.node_id) == node_id,
        col(ActionRow.kind).in_(sorted(kinds)),
        col(ActionRow.state) == ActionState.DONE.value,
        col(ActionRow.finished_at) > after,
    )
    rows = tx.session.execute(query.order_by(col(ActionRow.finished_at)).limit(_LATER_MAX)).scalars()
    return _models(tx, rows)


def insert(tx: Tx, action: Action) -> None:
    """Record a proposal."""
    row = fresh(ActionRow, action_rows.values(action))
    tx.add(row, action.id)
    key = (_NEWEST, action.node_id, action.kind, action.proposer)
    known: tuple[datetime, ActionRow | None] | None = tx.known(key)
    if known is not None:
        tx.know(key, (known[0], row))
    _emit(tx, row)


def update(
    tx: Tx,
    action_id: ActionId,
    state: ActionState,
    *,
    decision: tuple[str, ...] | None = None,
    decided_by: str | None = None,
    outcome: str | None = None,
    expires_at: datetime | None = None,
) -> Action:
    """Move the action on and return it. Raises NotFound, or LifecycleError for an impossible change."""
    row = tx.row(ActionRow, action_id)
    if row is None:
        raise NotFound(f"there is no action {action_id}", reason="ACTION_NOT_FOUND")
    lifecycle.ACTION.check(ActionState(row.state), state)
    values = {
        "decision": None if decision is None else list(decision),
        "decided_by": decided_by,
        "outcome": outcome,
        "expires_at": expires_at,
        "finished_at": tx.now if state.ended else None,
    }
    given = {name: value for name, value in values.items() if value is not None}
    tx.change(row, given | {"state": state.value})
    _emit(tx, row)
    return _one(tx, row)


def ask(
    tx: Tx,
    action_id: ActionId,
    need: ApprovalNeed,
    *,
    decision: tuple[str, ...],
    policy_version: str,
    estimate_usd: Decimal,
    summary: str,
) -> Action:
    """Note what a waiting action needs by now, what it may cost by now, and what has been said. Raises NotFound."""
    row = tx.row(ActionRow, action_id)
    if row is None:
        raise NotFound(f"there is no action {action_id}", reason="ACTION_NOT_FOUND")
    asked = {
        "approval_need": action_rows.need_document(need),
        "decision": list(decision),
        "policy_version": policy_version,
        "estimate_usd_micros": to_micros(estimate_usd),
        "summary": summary,
    }
    tx.change(row, asked)
    _emit(tx, row)
    return _one(tx, row)


def undoing(tx: Tx, action_id: ActionId) -> Action | None:
    """Return the action that is to undo this one and has not ended, or None."""
    query = select(ActionRow).where(
        col(ActionRow.undoes) == action_id,
        col(ActionRow.state).in_([state.value for state in ActionState if not state.ended]),
    )
    row = tx.session.execute(query.limit(1)).scalars().first()
    return None if row is None else _one(tx, row)


def mark_undone(tx: Tx, action_id: ActionId, *, by: ActionId) -> Action:
    """Say that what an action did is taken back. Raises NotFound, or LifecycleError if it is not done."""
    row = tx.row(ActionRow, action_id)
    if row is None:
        raise NotFound(f"there is no action {action_id}", reason="ACTION_NOT_FOUND")
    lifecycle.ACTION.check(ActionState(row.state), ActionState.UNDONE)
    tx.change(row, {"state": ActionState.UNDONE.value, "undone_by": by})
    _emit(tx, row)
    return _one(tx, row)


def _emit(tx: Tx, row: ActionRow) -> None:
    held = columns(row)
    tx.emit(Noun.ACTION, held["id"], f"action.{held['state']}", held["summary"], parent_id=held["goal_id"] or "")


def kill_switch(tx: Tx) -> KillSwitch:
    """Return the kill switch."""
    known: KillSwitch | None = tx.known(_SWITCH)
    if known is None:
        row = tx.session.get(ControlRow, _KILL_SWITCH)
        if row is None:
            known = KillSwitch(engaged=False, changed_by="", reason="", changed_at=None)
        else:
            known = KillSwitch(row.value == _ENGAGED, row.changed_by, row.reason, row.changed_at)
        tx.know(_SWITCH, known)
    return known


def set_kill_switch(tx: Tx, *, engaged: bool, changed_by: str, reason: str) -> KillSwitch:
    """Engage or release the kill switch."""
    row = tx.session.get(ControlRow, _KILL_SWITCH) or ControlRow(key=_KILL_SWITCH, value="")
    row.value = _ENGAGED if engaged else ""
    row.changed_by = changed_by
    row.reason = reason
    row.changed_at = tx.now
    tx.session.add(row)
    tx.forget(_SWITCH)
    kind = "kill_switch.engaged" if engaged else "kill_switch.released"
    tx.emit(Noun.ACTION, "kill-switch", kind, reason)
    return kill_switch(tx)
