"""The bounds of the blast radius, and how many nodes are out of service now."""

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlmodel import col

from control_plane.model.bounds import Bound, Bounds, BoundScope, Level
from control_plane.model.ids import NodeId
from control_plane.model.job import AllocationState
from control_plane.model.node import NodeState
from control_plane.store.database import Tx
from control_plane.store.health_tables import BoundRow
from control_plane.store.tables import AllocationMemberRow, AllocationRow, JobRow, NodeRow


def load(tx: Tx) -> Bounds:
    """Return the bounds in force."""
    rows = tx.session.execute(select(BoundRow)).scalars()
    return {BoundScope(row.scope): Bound(row.most, row.percent) for row in rows}


def save(tx: Tx, bounds: Bounds, *, changed_by: str) -> bool:
    """Put bounds into force; return whether any is another one than before."""
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
    return or_(col(NodeRow.hold) != "", col(NodeRow.state) == NodeState.LOST.value)


def _in_fleet() -> ColumnElement[bool]:
    return and_(col(NodeRow.state) != NodeState.REVOKED.value, col(NodeRow.last_seen_at).is_not(None))


def is_out(tx: Tx, node_id: NodeId) -> bool:
    """Tell whether the node is out of service: lost, or held for a drain, a repair, a test or a quarantine."""
    query = select(col(NodeRow.id)).where(col(NodeRow.id) == node_id, _out())
    return tx.session.execute(query).first() is not None


def fleet(tx: Tx) -> Level:
    """Return how things stand in the whole fleet."""
    return _level(tx, BoundScope.FLEET, "", _in_fleet())


def levels(tx: Tx, node_id: NodeId) -> tuple[Level, ...]:
    """Return how things stand in everything that the node belongs to: fleet, pool, rack, jobs and tenants on it."""
    row = tx.session.get(NodeRow, node_id)
    if row is None:
        return ()
    found = [fleet(tx)]
    if row.pool:
        found.append(_level(tx, BoundScope.POOL, row.pool, and_(_in_fleet(), col(NodeRow.pool) == row.pool)))
    if row.rack:
        found.append(_level(tx, BoundScope.RACK, row.rack, and_(_in_fleet(), col(NodeRow.rack) == row.rack)))
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
