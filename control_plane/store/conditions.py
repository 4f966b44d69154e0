"""What is wrong with nodes now, how that changed, and what operators said about it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlmodel import col

from control_plane.model.health import Condition, ConditionOrder, ConditionSeverity, HealthEvent, HealthEventKind
from control_plane.model.ids import NodeId
from control_plane.model.node import GpuHealth
from control_plane.model.record import Noun
from control_plane.store.database import Tx
from control_plane.store.documents import CONDITION
from control_plane.store.health_tables import ConditionOrderRow, ConditionRow, HealthEventRow
from control_plane.store.pages import among, batched
from control_plane.store.readable import json_text, readable
from control_plane.store.rows import fresh

CHANGED = "node.conditions_changed"
"""Kind of the event after a node's conditions have changed."""
ORDERED = "node.condition_ordered"
"""Kind of the event after an operator's word about a condition was recorded or has been obeyed."""

CONDITIONS_MAX = 512
"""Conditions of one node; its daemon keeps 500."""
ORDERS_MAX = 128
"""Operators' words about one node that wait for their conditions to be over."""


_PRESENT = "conditions.present"
_ORDERS = "conditions.orders"
_PARSED = "conditions.parsed"
"""Under these, with a node's id, a transaction remembers what it has read."""


def _model(tx: Tx, row: ConditionRow) -> Condition:
    return tx.parsed((_PARSED, row.node_id, row.condition_id), row.document, CONDITION.load)


def _worst_first(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    found = tuple(conditions)
    if len(found) < 2:  # noqa: PLR2004 - one alone is in order
        return found
    return tuple(sorted(found, key=lambda one: (-one.severity, one.first_seen_at, one.id)))


def load(tx: Tx, node_ids: Collection[NodeId]) -> None:
    """Read what is wrong with many nodes at once: `of_node`, `get`, `put` and `count` look at it."""
    found: dict[str, list[ConditionRow]] = {node_id: [] for node_id in node_ids}
    for ids in batched(node_ids):
        for row in tx.session.execute(select(ConditionRow).where(col(ConditionRow.node_id).in_(among(ids)))).scalars():
            found[row.node_id].append(row)
    for node_id, rows in found.items():
        tx.know((_PRESENT, node_id), rows)


def of_node(tx: Tx, node_id: NodeId) -> tuple[Condition, ...]:
    """Return what is wrong with the node, worst first."""
    return _worst_first(_model(tx, row) for row in _rows(tx, node_id))


def known_of(tx: Tx, node_id: NodeId) -> dict[str, Condition | None]:
    """Return what is wrong with the node by id, with None for what cannot be read."""
    rows = _rows(tx, node_id)
    found: dict[str, Condition | None] = {row.condition_id: None for row in rows}
    found.update(readable(tx, rows, lambda row: (row.condition_id, _model(tx, row))))
    return found


def _rows(tx: Tx, node_id: NodeId) -> Sequence[ConditionRow]:
    known: list[ConditionRow] | None = tx.known((_PRESENT, node_id))
    if known is not None:
        return known
    return tx.session.execute(select(ConditionRow).where(col(ConditionRow.node_id) == node_id)).scalars().all()


def _row(tx: Tx, node_id: NodeId, condition_id: str) -> ConditionRow | None:
    known: list[ConditionRow] | None = tx.known((_PRESENT, node_id))
    if known is None:
        return tx.session.get(ConditionRow, (node_id, condition_id))
    return next((row for row in known if row.condition_id == condition_id), None)


def of_nodes(tx: Tx, node_ids: Collection[NodeId]) -> dict[NodeId, tuple[Condition, ...]]:
    """Return what is wrong with each of the nodes that has anything wrong, as far as it can be read, worst first."""
    found: dict[NodeId, list[Condition]] = {}
    for ids in batched(node_ids):
        rows = tx.session.execute(select(ConditionRow).where(col(ConditionRow.node_id).in_(among(ids)))).scalars()
        for node_id, condition in readable(tx, rows, lambda row: (NodeId(row.node_id), _model(tx, row))):
            found.setdefault(node_id, []).append(condition)
    return {node_id: _worst_first(conditions) for node_id, conditions in found.items()}


def get(tx: Tx, node_id: NodeId, condition_id: str) -> Condition | None:
    """Return the condition, or None."""
    row = _row(tx, node_id, condition_id)
    return None if row is None else _model(tx, row)


def put(tx: Tx, node_id: NodeId, condition: Condition) -> bool:
    """Record a condition as it is now; return whether anything changed. Does not announce it: see `announce`."""
    row = _row(tx, node_id, condition.id)
    document = CONDITION.dump(condition)
    if row is None:
        kept = {"node_id": node_id, "condition_id": condition.id, "severity": 0, "document": {}, "changed_at": tx.now}
        row = fresh(ConditionRow, kept)
        tx.add(row)
        known: list[ConditionRow] | None = tx.known((_PRESENT, node_id))
        if known is not None:
            known.append(row)
    if row.document == document:
        return False
    severity = int(condition.severity)
    tx.change(
        row,
        {"severity": severity, "gpu_uuid": condition.gpu_uuid, "document": document, "changed_at": tx.now},
    )
    return True


def remove(tx: Tx, node_id: NodeId, condition_id: str) -> bool:
    """Record that a condition is over, and that orders about it are obeyed; return whether it was there."""
    row = _row(tx, node_id, condition_id)
    if row is None:
        return False
    known: list[ConditionRow] | None = tx.known((_PRESENT, node_id))
    tx.delete(row)
    if known is not None:
        known.remove(row)
    said: tuple[ConditionOrder, ...] | None = tx.known((_ORDERS, node_id))
    if said is None or any(one.condition_id == condition_id for one in said):
        _obey(tx, node_id, condition_id)
    if known is None:
        tx.session.flush()
    return True


def _obey(tx: Tx, node_id: NodeId, condition_id: str) -> None:
    order = tx.session.get(ConditionOrderRow, (node_id, condition_id))
    if order is not None:
        tx.session.delete(order)
        tx.session.flush()
        tx.forget((_ORDERS, node_id))
        tx.emit(Noun.NODE, node_id, ORDERED, condition_id, parent_id=node_id)


def announce(tx: Tx, node_id: NodeId, what: str) -> None:
    """Let everybody know that the node's conditions have changed."""
    tx.emit(Noun.NODE, node_id, CHANGED, what, parent_id=node_id)


def count(tx: Tx, node_id: NodeId) -> int:
    """Return how many conditions the node has."""
    known: list[ConditionRow] | None = tx.known((_PRESENT, node_id))
    if known is not None:
        return len(known)
    query = select(func.count()).select_from(ConditionRow).where(col(ConditionRow.node_id) == node_id)
    return int(tx.session.execute(query).scalar_one())


def count_by_severity(tx: Tx) -> dict[ConditionSeverity, int]:
    """Return how many conditions of each severity the fleet has."""
    rows = tx.session.execute(select(col(ConditionRow.severity), func.count()).group_by(col(ConditionRow.severity)))
    return {ConditionSeverity(severity): number for severity, number in rows}


def count_by_kind(tx: Tx) -> dict[str, int]:
    """Return how many conditions of each kind the fleet has."""
    kind = json_text(tx, col(ConditionRow.document), "kind")
    rows = tx.session.execute(select(kind, func.count()).group_by(kind))
    return {str(name or "unreadable"): int(number) for name, number in rows}


def gpu_health(tx: Tx, node_id: NodeId | None = None) -> dict[NodeId, dict[str, GpuHealth]]:
    """Return the GPUs, by node, that a condition makes degraded or failed: of one node, or of all."""
    query = select(col(ConditionRow.node_id), col(ConditionRow.gpu_uuid), func.max(col(ConditionRow.severity))).where(
        col(ConditionRow.gpu_uuid) != "", col(ConditionRow.severity) >= int(ConditionSeverity.WARNING)
    )
    if node_id is not None:
        query = query.where(col(ConditionRow.node_id) == node_id)
    found: dict[NodeId, dict[str, GpuHealth]] = {}
    grouped = query.group_by(col(ConditionRow.node_id), col(ConditionRow.gpu_uuid))
    for owner, gpu_uuid, severity in tx.session.execute(grouped):
        fatal = severity >= int(ConditionSeverity.FATAL)
        found.setdefault(NodeId(owner), {})[gpu_uuid] = GpuHealth.FAILED if fatal else GpuHealth.DEGRADED
    return found


def closed_hosts(tx: Tx, node_id: NodeId | None = None) -> frozenset[NodeId]:
    """Return the nodes that must take no jobs at all, because of a fatal condition that is not about one GPU."""
    query = select(col(ConditionRow.node_id)).where(
        col(ConditionRow.gpu_uuid) == "", col(ConditionRow.severity) >= int(ConditionSeverity.FATAL)
    )
    if node_id is not None:
        query = query.where(col(ConditionRow.node_id) == node_id)
    return frozenset(NodeId(one) for one in tx.session.execute(query.distinct()).scalars())


def troubled(tx: Tx) -> tuple[NodeId, ...]:
    """Return every node with a condition that is more than information, the one longest in trouble first."""
    query = select(col(ConditionRow.node_id)).where(col(ConditionRow.severity) >= int(ConditionSeverity.WARNING))
    oldest_first = query.group_by(col(ConditionRow.node_id)).order_by(
        func.min(col(ConditionRow.changed_at)), col(ConditionRow.node_id)
    )
    return tuple(NodeId(one) for one in tx.session.execute(oldest_first).scalars())


def order(tx: Tx, node_id: NodeId, said: ConditionOrder) -> None:
    """Record an operator's word, for the host to obey; an acknowledgement shows at once."""
    row = tx.session.get(ConditionOrderRow, (node_id, said.condition_id))
    if row is None:
        row = ConditionOrderRow(node_id=node_id, condition_id=said.condition_id, by="", clear=False, at=said.at)
    row.by, row.clear, row.at = said.by, said.clear, said.at
    tx.session.add(row)
    tx.forget((_ORDERS, node_id))
    condition = get(tx, node_id, said.condition_id)
    if condition is not None and put(tx, node_id, replace(condition, acknowledged_by=said.by)):
        announce(tx, node_id, f"{said.by} has {'cleared' if said.clear else 'acknowledged'} {said.condition_id}")
    tx.emit(Noun.NODE, node_id, ORDERED, said.condition_id, parent_id=node_id)


def load_orders(tx: Tx, node_ids: Collection[NodeId]) -> None:
    """Read what `orders` returns for many nodes at once."""
    said: dict[str, list[ConditionOrder]] = {node_id: [] for node_id in node_ids}
    for ids in batched(node_ids):
        for row in _order_rows(tx, ids):
            said[row.node_id].append(_order(row))
    for node_id, found in said.items():
        tx.know((_ORDERS, node_id), tuple(found))


def orders(tx: Tx, node_id: NodeId) -> tuple[ConditionOrder, ...]:
    """Return what operators said about conditions of the node that are not over, oldest first."""
    known: tuple[ConditionOrder, ...] | None = tx.known((_ORDERS, node_id))
    return tuple(map(_order, _order_rows(tx, [node_id]))) if known is None else known


def _order_rows(tx: Tx, node_ids: Collection[NodeId]) -> Iterable[ConditionOrderRow]:
    query = select(ConditionOrderRow).where(col(ConditionOrderRow.node_id).in_(among(node_ids)))
    oldest_first = query.order_by(col(ConditionOrderRow.at), col(ConditionOrderRow.condition_id))
    return tx.session.execute(oldest_first).scalars()


def _order(row: ConditionOrderRow) -> ConditionOrder:
    return ConditionOrder(row.condition_id, row.by, row.clear, row.at)


def record_event(tx: Tx, node_id: NodeId, spool_id: str, sequence: int, happened: HealthEvent) -> None:
    """Keep a change of a condition; its place in the host's spool makes it unique."""
    tx.later(
        HealthEventRow,
        {
            "node_id": node_id,
            "spool_id": spool_id,
            "sequence": sequence,
            "event_id": happened.id,
            "kind": happened.kind.value,
            "condition_id": happened.condition.id,
            "document": {"condition": CONDITION.dump(happened.condition), "reason": happened.reason},
            "occurred_at": happened.occurred_at,
            "recorded_at": tx.now,
        },
    )


def history(tx: Tx, node_id: NodeId, *, limit: int = 100, since: datetime | None = None) -> tuple[HealthEvent, ...]:
    """Return how the node's conditions changed, newest first; with `since`, only what was told of later."""
    query = select(HealthEventRow).where(col(HealthEventRow.node_id) == node_id)
    if since is not None:
        query = query.where(col(HealthEventRow.recorded_at) >= since)
    newest = query.order_by(col(HealthEventRow.recorded_at).desc(), col(HealthEventRow.sequence).desc())
    return tuple(readable(tx, tx.session.execute(newest.limit(limit)).scalars(), _event))


def _event(row: HealthEventRow) -> HealthEvent:
    return HealthEvent(
        id=row.event_id,
        kind=HealthEventKind(row.kind),
        condition=CONDITION.load(row.document["condition"]),
        occurred_at=row.occurred_at,
        reason=row.document["reason"],
    )


def as_last_known(tx: Tx, node_id: NodeId, condition_ids: Collection[str]) -> tuple[Condition, ...]:
    """Return these conditions as they are or, where they are over, as they last were; worst first."""
    found = {one.id: one for one in of_node(tx, node_id) if one.id in condition_ids}
    for condition_id in set(condition_ids) - found.keys():
        query = (
            select(HealthEventRow)
            .where(col(HealthEventRow.node_id) == node_id, col(HealthEventRow.condition_id) == condition_id)
            .order_by(col(HealthEventRow.recorded_at).desc(), col(HealthEventRow.sequence).desc())
            .limit(1)
        )
        row = tx.session.execute(query).scalars().first()
        if row is not None:
            found[condition_id] = CONDITION.load(row.document["condition"])
    return _worst_first(found.values())


def event_counts(tx: Tx, node_id: NodeId) -> Mapping[HealthEventKind, int]:
    """Return how many changes of each kind are kept of the node."""
    query = select(col(HealthEventRow.kind), func.count()).where(col(HealthEventRow.node_id) == node_id)
    rows = tx.session.execute(query.group_by(col(HealthEventRow.kind)))
    return {HealthEventKind(kind): number for kind, number in rows}


def prune(tx: Tx, *, events_before: datetime, orders_before: datetime) -> None:
    """Forget old changes, and operators' words that no host has obeyed for long."""
    tx.session.execute(delete(HealthEventRow).where(col(HealthEventRow.recorded_at) < events_before))
    tx.session.execute(delete(ConditionOrderRow).where(col(ConditionOrderRow.at) < orders_before))


def forget(tx: Tx, node_id: NodeId) -> None:
    """Drop what is wrong with a node that left the fleet."""
    tx.forget((_PRESENT, node_id))
    tx.forget((_ORDERS, node_id))
    tx.session.execute(delete(ConditionRow).where(col(ConditionRow.node_id) == node_id))
    tx.session.execute(delete(ConditionOrderRow).where(col(ConditionOrderRow.node_id) == node_id))
