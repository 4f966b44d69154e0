"""The bounds of the blast radius, and how many nodes are out of service now."""

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlmodel import col

from control_plane.model.bounds import Bound, Bounds, BoundScope, Level
from control_plane.model.ids import NodeId
from control_plane.model.job import AllocationState
from control_plane.model.node import NodeState
from control_plane.store.database import Tx
from control_plane.store.health_tables import BoundRow
from control_plane.store.occupied import is_empty
from control_plane.store.tables import AllocationMemberRow, AllocationRow, JobRow, NodeRow

_Counts = dict[tuple[BoundScope, str], tuple[int, int]]
"""How many nodes of the fleet, each pool and each rack there are, and how many of them are out of service."""
_REVOKED: Final = NodeState.REVOKED.value
_LOST: Final = NodeState.LOST.value
_COUNTS: Final = "bounds.counts"
_BOUNDS: Final = "bounds.bounds"
"""Under these a transaction remembers them."""


def load(tx: Tx) -> Bounds:
    """Return the bounds in force."""
    known: Bounds | None = tx.known(_BOUNDS)
    if known is None:
        rows = tx.session.execute(select(BoundRow)).scalars()
        known = {BoundScope(row.scope): Bound(row.most, row.percent) for row in rows}
        tx.know(_BOUNDS, known)
    return known


def save(tx: Tx, bounds: Bounds, *, changed_by: str) -> bool:
    """Put bounds into force; return whether any is another one than before."""
    tx.forget(_BOUNDS)
    changed = False
    for scope, bound in bounds.items():
        row = tx.session.get(BoundRow, scope.value)
        if row is not None and (row.most, row.percent) == (bound.most, bound.percent):
            continue
        if row is None:
            row = BoundRow(scope=scope.value, most=0, percent=0.0, changed_by="", changed_at=tx.now)
        row.most, row.percent, row.changed_by, row.changed_at = bound.most, bound.percent, changed_by, tx.now
        tx.session.add(row)
        changed = True
    return changed


def _out() -> ColumnElement[bool]:
    return or_(col(NodeRow.hold) != "", col(NodeRow.state) == _LOST)


def _in_fleet() -> ColumnElement[bool]:
    return and_(col(NodeRow.state) != _REVOKED, col(NodeRow.last_seen_at).is_not(None))


def is_out(tx: Tx, node_id: NodeId) -> bool:
    """Tell whether the node is out of service: lost, or held for a drain, a repair, a test or a quarantine."""
    row = tx.row(NodeRow, node_id)
    return row is not None and _means_out(row.state, row.hold)


def _means_out(state: str, hold: str) -> bool:
    return hold != "" or state == _LOST


def count(tx: Tx) -> None:
    """Count the fleet, its pools and racks once, and read their bounds, before anything is there to be written.

    From then on `levels` follows each change of this transaction.
    """
    load(tx)
    state, hold, rack, pool = (col(one) for one in (NodeRow.state, NodeRow.hold, NodeRow.rack, NodeRow.pool))
    counts: _Counts = {}
    # In the order of the index `nodes_in_fleet`, so that it alone is read: the nodes themselves are long.
    for in_state, held, racked, named, total in tx.session.execute(
        select(state, hold, rack, pool, func.count()).where(_in_fleet()).group_by(state, hold, rack, pool)
    ):
        _add(counts, named, racked, int(total), int(total) if _means_out(in_state, held) else 0)
    tx.know(_COUNTS, counts)


def follow(tx: Tx, row: NodeRow, before: tuple[int, int]) -> None:
    """Let the counts of `count`, if it was called, follow what has changed about a node; `before` was its `weight`."""
    counts: _Counts | None = tx.known(_COUNTS)
    now = weight(row)
    if counts is not None and now != before:
        _add(counts, row.pool, row.rack, now[0] - before[0], now[1] - before[1])


def recount(tx: Tx) -> None:
    """Have the database count again: nodes were changed by the hundred."""
    tx.forget(_COUNTS)


def weight(row: NodeRow) -> tuple[int, int]:
    """Return whether a node counts, and whether it counts as out of service; each as a number."""
    state = row.state
    if state == _REVOKED or row.last_seen_at is None:
        return 0, 0
    return 1, int(_means_out(state, row.hold))


def _add(counts: _Counts, pool: str, rack: str, total: int, out: int) -> None:
    for scope, name in ((BoundScope.FLEET, ""), (BoundScope.POOL, pool), (BoundScope.RACK, rack)):
        before = counts.get((scope, name), (0, 0))
        counts[scope, name] = (before[0] + total, before[1] + out)


def fleet(tx: Tx) -> Level:
    """Return how things stand in the whole fleet."""
    return _counted_level(tx, BoundScope.FLEET, "") or _level(tx, BoundScope.FLEET, "", _in_fleet())


def _counted_level(tx: Tx, scope: BoundScope, name: str) -> Level | None:
    counts: _Counts | None = tx.known(_COUNTS)
    return None if counts is None else Level(scope, name, *counts.get((scope, name), (0, 0)))


def _of_label(tx: Tx, scope: BoundScope, column: Any, name: str) -> Level:  # Any: a column, which is a str to mypy
    return _counted_level(tx, scope, name) or _level(tx, scope, name, and_(_in_fleet(), col(column) == name))


def levels(tx: Tx, node_id: NodeId) -> tuple[Level, ...]:
    """Return how things stand in everything that the node belongs to: fleet, pool, rack, jobs and tenants on it."""
    row = tx.row(NodeRow, node_id)
    if row is None:
        return ()
    found = [fleet(tx)]
    if row.pool:
        found.append(_of_label(tx, BoundScope.POOL, NodeRow.pool, row.pool))
    if row.rack:
        found.append(_of_label(tx, BoundScope.RACK, NodeRow.rack, row.rack))
    if is_empty(tx, node_id):
        return tuple(found)
    here = (
        select(col(JobRow.id), col(JobRow.user_id), col(JobRow.user_email), col(AllocationRow.id))
        .join(AllocationRow, col(AllocationRow.job_id) == col(JobRow.id))
        .join(AllocationMemberRow, col(AllocationMemberRow.allocation_id) == col(AllocationRow.id))
        .where(
            col(AllocationMemberRow.node_id) == node_id,
            col(AllocationMemberRow.state) != AllocationState.ENDED.value,
        )
        .order_by(col(JobRow.id))
    )
    tenants: dict[str, str] = {}
    for job_id, user_id, email, allocation_id in tx.session.execute(here):
        tenants[user_id] = email
        its_nodes = select(col(AllocationMemberRow.node_id)).where(
            col(AllocationMemberRow.allocation_id) == allocation_id
        )
        found.append(_level(tx, BoundScope.JOB, job_id, col(NodeRow.id).in_(its_nodes)))
    for user_id, email in tenants.items():
        its_nodes = (
            select(col(AllocationMemberRow.node_id))
            .join(AllocationRow, col(AllocationRow.id) == col(AllocationMemberRow.allocation_id))
            .join(JobRow, col(JobRow.id) == col(AllocationRow.job_id))
            .where(col(JobRow.user_id) == user_id, col(AllocationMemberRow.state) != AllocationState.ENDED.value)
        )
        found.append(_level(tx, BoundScope.TENANT, email, col(NodeRow.id).in_(its_nodes)))
    return tuple(found)


def _level(tx: Tx, scope: BoundScope, name: str, which: ColumnElement[bool]) -> Level:
    counts = select(func.count(), func.coalesce(func.sum(case((_out(), 1), else_=0)), 0)).select_from(NodeRow)
    total, out = tx.session.execute(counts.where(which)).one()
    return Level(scope, name, int(total), int(out))
