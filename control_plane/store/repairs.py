"""Repairs in the database: what was ordered and what came of it."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.fleet import lifecycle
from control_plane.fleet.ladder import DEADLINE_SECONDS
from control_plane.model.action import ActionState
from control_plane.model.ids import REPAIR, ActionId, IncidentId, NodeId, RepairId, derived_id
from control_plane.model.record import Noun
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung
from control_plane.store import repair_rows
from control_plane.store.database import Tx
from control_plane.store.health_tables import RepairRow
from control_plane.store.pages import among, batched
from control_plane.store.readable import readable
from control_plane.store.rows import fresh
from control_plane.store.tables import ActionRow

CHANGED = "node.repair_changed"
"""Kind of the event after a repair of a node was ordered, sent, moved on or ended."""

_QUARANTINE = "quarantine_node"
_NEVER = datetime.max.replace(tzinfo=UTC)

_RECENT = "repairs.recent"
_OF_INCIDENT = "repairs.of_incident"
"""Under these, with a node's or an incident's id, a transaction remembers what was read for many at once."""


def id_of(action_id: ActionId) -> RepairId:
    """Return the id of the repair that an action orders."""
    return derived_id(REPAIR, action_id)


def load_recent(tx: Tx, node_ids: Collection[NodeId], incident_ids: Collection[IncidentId], *, after: datetime) -> None:
    """Read what `unfinished`, `of_incident` and, for later times, `since` look at for many nodes at once."""
    _load(tx, node_ids, or_(col(RepairRow.closed_at).is_(None), col(RepairRow.closed_at) > after), after)
    of_incidents: dict[str, list[RepairRow]] = {incident_id: [] for incident_id in incident_ids}
    for these in batched(incident_ids):
        for row in tx.session.execute(select(RepairRow).where(col(RepairRow.incident_id).in_(among(these)))).scalars():
            of_incidents[row.incident_id or ""].append(row)
    for incident_id, rows in of_incidents.items():
        tx.know((_OF_INCIDENT, incident_id), rows)


def load_unfinished(tx: Tx, node_ids: Collection[NodeId]) -> None:
    """Read what `unfinished` looks at for many nodes at once."""
    _load(tx, node_ids, col(RepairRow.closed_at).is_(None), _NEVER)


def _load(tx: Tx, node_ids: Collection[NodeId], which: ColumnElement[bool], ended_after: datetime) -> None:
    found: dict[str, list[RepairRow]] = {node_id: [] for node_id in node_ids}
    for ids in batched(node_ids):
        for row in tx.session.execute(select(RepairRow).where(col(RepairRow.node_id).in_(among(ids)), which)).scalars():
            found[row.node_id].append(row)
    for node_id, rows in found.items():
        tx.know((_RECENT, node_id), (ended_after, rows))
        for row in rows:
            tx.keep(row, row.id)


def load_rows(tx: Tx, repair_ids: Collection[RepairId]) -> None:
    """Read what `get` looks at for many repairs at once."""
    for ids in batched(repair_ids):
        for row in tx.session.execute(select(RepairRow).where(col(RepairRow.id).in_(among(ids)))).scalars():
            tx.keep(row, row.id)


def begin_incident(tx: Tx, incident_id: IncidentId) -> None:
    """Take note of an incident that is there since now: it has no repairs."""
    tx.know((_OF_INCIDENT, incident_id), [])


def get(tx: Tx, repair_id: RepairId) -> Repair | None:
    """Return the repair, or None."""
    row = tx.row(RepairRow, repair_id)
    return None if row is None else repair_rows.model(row)


def require(tx: Tx, repair_id: RepairId) -> Repair:
    """Return the repair. Raises NotFound."""
    repair = get(tx, repair_id)
    if repair is None:
        raise NotFound(f"there is no repair {repair_id}", reason="REPAIR_NOT_FOUND")
    return repair


def unfinished(tx: Tx, node_id: NodeId) -> Repair | None:
    """Return the repair of the node that has not ended; an order goes before what a host does by itself."""
    row = _unfinished_row(tx, node_id)
    return None if row is None else repair_rows.model(row)


def is_unfinished(tx: Tx, node_id: NodeId) -> bool:
    """Tell whether `unfinished` has anything to return."""
    return _unfinished_row(tx, node_id) is not None


def is_given(tx: Tx, node_id: NodeId) -> bool:
    """Tell whether what `unfinished` returns was given to its host."""
    row = _unfinished_row(tx, node_id)
    return row is not None and row.sent_at is not None


def _unfinished_row(tx: Tx, node_id: NodeId) -> RepairRow | None:
    known: tuple[datetime, list[RepairRow]] | None = tx.known((_RECENT, node_id))
    if known is None:
        query = select(RepairRow).where(col(RepairRow.node_id) == node_id, col(RepairRow.closed_at).is_(None))
        rows = list(tx.session.execute(query).scalars())
    else:
        rows = [row for row in known[1] if row.closed_at is None]
    if len(rows) > 1:
        rows.sort(key=lambda row: (row.origin != RepairOrigin.CONTROL_PLANE.value, row.ordered_at, row.id))
    return rows[0] if rows else None


def latest(tx: Tx, node_id: NodeId) -> Repair | None:
    """Return the node's repair in progress, or its last one."""
    return unfinished(tx, node_id) or latest_of(tx, [node_id]).get(node_id)


def latest_of(tx: Tx, node_ids: Collection[NodeId]) -> dict[NodeId, Repair]:
    """Return the newest repair of each of the nodes that has any, if it can be read."""
    found: dict[NodeId, Repair] = {}
    for ids in batched(node_ids):
        newest = (
            select(col(RepairRow.node_id).label("node_id"), func.max(col(RepairRow.ordered_at)).label("ordered_at"))
            .where(col(RepairRow.node_id).in_(among(ids)))
            .group_by(col(RepairRow.node_id))
            .subquery()
        )
        query = select(RepairRow).join(
            newest, (col(RepairRow.node_id) == newest.c.node_id) & (col(RepairRow.ordered_at) == newest.c.ordered_at)
        )
        for repair in readable(tx, tx.session.execute(query).scalars(), repair_rows.model):
            found[repair.node_id] = repair
    return found


def without_hand_off(tx: Tx, node_id: NodeId) -> ActionId | None:
    """Return the action that has quarantined the node last, if no hand-off report was ever ordered for it."""
    query = select(col(ActionRow.id)).where(
        col(ActionRow.node_id) == node_id,
        col(ActionRow.kind) == _QUARANTINE,
        col(ActionRow.state) == ActionState.DONE.value,
    )
    newest = query.order_by(col(ActionRow.created_at).desc(), col(ActionRow.id).desc()).limit(1)
    found = tx.session.execute(newest).scalar()
    if found is None or tx.row(RepairRow, id_of(ActionId(found))) is not None:
        return None
    return ActionId(found)


def of_incident(tx: Tx, incident_id: IncidentId) -> tuple[Repair, ...]:
    """Return the incident's repairs, oldest first."""
    known: list[RepairRow] | None = tx.known((_OF_INCIDENT, incident_id))
    if known is not None:
        return tuple(repair_rows.model(row) for row in sorted(known, key=lambda row: (row.ordered_at, row.id)))
    query = select(RepairRow).where(col(RepairRow.incident_id) == incident_id)
    rows = tx.session.execute(query.order_by(col(RepairRow.ordered_at), col(RepairRow.id))).scalars()
    return tuple(repair_rows.model(row) for row in rows)


def in_progress(tx: Tx) -> tuple[Repair, ...]:
    """Return every repair that has not ended and can be read, oldest first."""
    query = select(RepairRow).where(col(RepairRow.closed_at).is_(None)).order_by(col(RepairRow.ordered_at))
    return tuple(readable(tx, tx.session.execute(query).scalars(), repair_rows.model))


def rebooting(tx: Tx) -> frozenset[NodeId]:
    """Return the nodes whose hosts were told to reboot, or do so by themselves: their silence is expected.

    For no longer than a reboot may take; and what a host claims to do by itself excuses it once in that time.
    """
    grace = timedelta(seconds=DEADLINE_SECONDS[Rung.REBOOT_HOST])
    query = select(RepairRow).where(
        col(RepairRow.closed_at).is_(None),
        col(RepairRow.rung) == int(Rung.REBOOT_HOST),
        col(RepairRow.dry_run).is_(False),
        col(RepairRow.sent_at) > tx.now - grace,
    )
    return frozenset(
        NodeId(row.node_id)
        for row in tx.session.execute(query).scalars()
        if row.origin == RepairOrigin.CONTROL_PLANE.value or not _rebooted_before(tx, row, grace)
    )


def _rebooted_before(tx: Tx, row: RepairRow, within: timedelta) -> bool:
    """Tell whether the host claims another reboot of its own shortly before this one."""
    # When one that has ended began is told by the host's clock; when it ended, by ours.
    since = (row.sent_at or row.ordered_at) - within
    query = select(col(RepairRow.id)).where(
        col(RepairRow.node_id) == row.node_id,
        col(RepairRow.id) != row.id,
        col(RepairRow.origin) == RepairOrigin.LOCAL_POLICY.value,
        col(RepairRow.rung) == int(Rung.REBOOT_HOST),
        or_(col(RepairRow.sent_at) > since, col(RepairRow.closed_at) > since),
    )
    return tx.session.execute(query.limit(1)).first() is not None


def may_begin_local(tx: Tx, node_id: NodeId, *, abandoned_since: datetime) -> bool:
    """Tell whether a host is believed that it has begun with a repair by itself: it does one at a time, and ends it.

    One that has left another without an end since then is believed only about what has ended.
    """
    query = select(col(RepairRow.id)).where(
        col(RepairRow.node_id) == node_id,
        col(RepairRow.origin) == RepairOrigin.LOCAL_POLICY.value,
        or_(
            col(RepairRow.closed_at).is_(None),
            and_(
                col(RepairRow.closed_at) > abandoned_since,
                col(RepairRow.ended_at).is_(None),
                col(RepairRow.state) == RepairState.FAILED.value,
            ),
        ),
    )
    return tx.session.execute(query.limit(1)).first() is None


def count_local(tx: Tx, node_id: NodeId) -> int:
    """Return how many repairs are kept that the node's host did by itself."""
    query = select(func.count()).select_from(RepairRow)
    query = query.where(col(RepairRow.node_id) == node_id, col(RepairRow.origin) == RepairOrigin.LOCAL_POLICY.value)
    return int(tx.session.execute(query).scalar_one())


def since(tx: Tx, node_id: NodeId, after: datetime, *, limit: int = 100) -> tuple[Repair, ...]:
    """Return the node's repairs that ended after a time and changed something, newest first."""
    known: tuple[datetime, list[RepairRow]] | None = tx.known((_RECENT, node_id))
    if known is not None and known[0] <= after:
        ended = [(row.closed_at, row) for row in known[1] if row.closed_at is not None and not row.dry_run]
        late = sorted((one for one in ended if one[0] > after), key=lambda one: one[0], reverse=True)
        return tuple(repair_rows.model(row) for _, row in late[:limit])
    query = select(RepairRow).where(
        col(RepairRow.node_id) == node_id, col(RepairRow.closed_at) > after, col(RepairRow.dry_run).is_(False)
    )
    rows = tx.session.execute(query.order_by(col(RepairRow.closed_at).desc()).limit(limit)).scalars()
    return tuple(repair_rows.model(row) for row in rows)


def insert(tx: Tx, repair: Repair) -> None:
    """Record a repair. A second order to one node raises the database's own error."""
    row = fresh(RepairRow, repair_rows.order(repair) | repair_rows.state(repair))
    tx.add(row, repair.id)
    known: tuple[datetime, list[RepairRow]] | None = tx.known((_RECENT, repair.node_id))
    if known is not None:
        known[1].append(row)
    of_it: list[RepairRow] | None = tx.known((_OF_INCIDENT, repair.incident_id))
    if of_it is not None:
        of_it.append(row)
    _emit(tx, repair)


def update(tx: Tx, before: Repair, after: Repair) -> Repair:
    """Write what a repair has become. Raises LifecycleError for an impossible change."""
    if after == before:
        return before
    row = tx.row(RepairRow, after.id)
    if row is None:
        raise LookupError(f"repair {after.id} vanished")
    if after.incident_id != row.incident_id:
        tx.forget((_OF_INCIDENT, after.incident_id))
        tx.forget((_OF_INCIDENT, row.incident_id))
    if after.state is not before.state:
        lifecycle.REPAIR.check(before.state, after.state)
    if after.state.ended and after.closed_at is None:
        after = replace(after, closed_at=tx.now)
    tx.change(row, repair_rows.state(after))
    _emit(tx, after)
    return after


def _emit(tx: Tx, repair: Repair) -> None:
    text = f"{repair.rung.words}: {repair.state.value}"
    tx.emit(Noun.NODE, repair.node_id, CHANGED, text, parent_id=repair.node_id)
    if repair.incident_id is not None:
        tx.emit(Noun.INCIDENT, repair.incident_id, "incident.repair_changed", text, parent_id=repair.node_id)


def count_by_outcome(tx: Tx) -> dict[tuple[Rung, RepairState], int]:
    """Return how many repairs there are of each rung in each state, without dry runs."""
    query = select(col(RepairRow.rung), col(RepairRow.state), func.count()).where(col(RepairRow.dry_run).is_(False))
    rows = tx.session.execute(query.group_by(col(RepairRow.rung), col(RepairRow.state)))
    return {(Rung(rung), RepairState(state)): number for rung, state, number in rows}


def prune(tx: Tx, *, before: datetime) -> None:
    """Forget repairs that ended long ago and belong to no incident that is kept."""
    tx.session.execute(delete(RepairRow).where(col(RepairRow.closed_at) < before, col(RepairRow.incident_id).is_(None)))
