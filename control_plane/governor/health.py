"""Takes what hosts say about their health into the books: observations, each record once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from control_plane.governor import incidents, repairs
from control_plane.model.health import Condition, HealthEvent, HealthEventKind
from control_plane.model.ids import NodeId, RepairId
from control_plane.model.repair import RepairReport
from control_plane.model.telemetry import Rollup
from control_plane.store import audit, conditions, nodes, rollups, spools
from control_plane.store import incidents as incident_store
from control_plane.store import repairs as repair_store
from control_plane.store.database import Tx

_TOLD_AGAIN_AFTER: Final = timedelta(minutes=10)
"""The audit is kept for good: what one host says of the same kind more often than this is counted elsewhere."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a host's spool had to give up."""

    records: int
    samples: int
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a spool. `content` is None where it cannot be read, or nothing of it belongs into the books."""

    sequence: int
    recorded_at: datetime
    content: HealthEvent | RepairReport | Rollup | Loss | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of records. `foreign` counts reports about repairs that are not the node's own."""

    sequence: int
    taken: int
    foreign: int


def load(tx: Tx, node_ids: Collection[NodeId], repair_ids: Collection[RepairId] = ()) -> None:
    """Read what `take`, and reports about these repairs, look at: as often for many nodes as for one."""
    conditions.load(tx, node_ids)
    conditions.load_orders(tx, node_ids)
    spools.load(tx, node_ids)
    incident_store.load_open(tx, node_ids)
    if repair_ids:
        nodes.load(tx, node_ids)
        repair_store.load_rows(tx, repair_ids)


def reconcile(tx: Tx, node_id: NodeId, present: Sequence[Condition]) -> bool:
    """Make the books agree with a host's full state: what is not in it is over. Return whether anything changed.

    What the books have and cannot read is written anew, or is over like anything else.
    """
    known = conditions.known_of(tx, node_id)
    now = {one.id: one for one in present[: conditions.CONDITIONS_MAX]}
    changed = [one.id for one in now.values() if _put(tx, node_id, one, known)]
    changed += [one_id for one_id in known if one_id not in now and conditions.remove(tx, node_id, one_id)]
    if changed:
        conditions.announce(tx, node_id, f"{len(now)} conditions")
        incidents.follow_conditions(tx, node_id)
    return bool(changed)


def take(
    tx: Tx,
    node_id: NodeId,
    spool_id: str,
    records: Sequence[Record],
    *,
    live_from: datetime | None,
    keep_most: int = 1_000_000,
) -> Taken:
    """Take records of a host's spool into the books, in order, and move its position with them.

    Only the first `keep_most` health events are kept as history; what the others say counts all the same.

    What was recorded before `live_from`, the moment of the host's full state, is history: that state has said already
    what became of it, so it is kept, but changes no condition.
    """
    position = spools.position(tx, node_id, spool_id)
    before = position
    taken = foreign = lost_records = lost_samples = events = 0
    changes: list[str] = []
    for record in records:
        if record.sequence <= position:
            continue
        position = record.sequence
        taken += 1
        match record.content:
            case HealthEvent() as event:
                _keep(tx, node_id, spool_id, record.sequence, event, room=events < keep_most)
                events += 1
                if (live_from is None or record.recorded_at >= live_from) and _apply(tx, node_id, event):
                    changes.append(f"{event.condition.id} {event.kind.value}")
            case RepairReport() as report:
                foreign += repairs.apply_report(tx, node_id, report).foreign
            case Rollup() as rollup:
                rollups.keep(tx, node_id, rollup)
            case Loss() as loss:
                lost_records += loss.records
                lost_samples += loss.samples
                _record_loss(tx, node_id, spool_id, loss)
    if position > before:
        spools.advance(tx, node_id, spool_id, position, lost_records=lost_records, lost_samples=lost_samples)
    if changes:
        conditions.announce(tx, node_id, "; ".join(changes[:4]))
        incidents.follow_conditions(tx, node_id)
    return Taken(position, taken, foreign)


def _keep(tx: Tx, node_id: NodeId, spool_id: str, sequence: int, event: HealthEvent, *, room: bool) -> None:
    """Keep an event as history, or tell that its host says more than is kept."""
    if room:
        conditions.record_event(tx, node_id, spool_id, sequence, event)
    else:
        why = "its host says more than is kept; what it says still counts"
        _tell(tx, node_id, "health.not_kept", why, {"spool_id": spool_id, "sequence": sequence})


def _apply(tx: Tx, node_id: NodeId, event: HealthEvent) -> bool:
    if event.kind is HealthEventKind.CLEARED:
        return conditions.remove(tx, node_id, event.condition.id)
    present = conditions.get(tx, node_id, event.condition.id)
    if present is None and conditions.count(tx, node_id) >= conditions.CONDITIONS_MAX:
        return False
    return _put(tx, node_id, event.condition, {} if present is None else {present.id: present})


def _put(tx: Tx, node_id: NodeId, condition: Condition, known: Mapping[str, Condition | None]) -> bool:
    """Keep an operator's word that the host has not heard of yet."""
    before = known.get(condition.id)
    if before is not None and before.acknowledged_by and not condition.acknowledged_by:
        meant = {order.condition_id for order in conditions.orders(tx, node_id) if condition.first_seen_at <= order.at}
        if condition.id in meant:
            condition = replace(condition, acknowledged_by=before.acknowledged_by)
    return conditions.put(tx, node_id, condition)


def _record_loss(tx: Tx, node_id: NodeId, spool_id: str, loss: Loss) -> None:
    reason = loss.reason or "its spool was full or its records too old"
    payload = {"spool_id": spool_id, "records": loss.records, "telemetry_samples": loss.samples}
    _tell(tx, node_id, "spool.lost", reason, payload)


def _tell(tx: Tx, node_id: NodeId, action: str, reasoning: str, payload: Mapping[str, object]) -> None:
    if audit.has_recent(tx, action, node_id=node_id, within=_TOLD_AGAIN_AFTER):
        return
    audit.append(
        tx,
        agent_name="node-link",
        action=action,
        reasoning=reasoning,
        outcome="observed",
        payload=payload,
        node_id=node_id,
    )
