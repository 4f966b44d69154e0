"""How far each host's spool is in the books: a record enters them once, however often it is sent."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlmodel import col

from control_plane.model.ids import NodeId
from control_plane.store.database import Tx
from control_plane.store.health_tables import HealthEventRow, SpoolRow
from control_plane.store.pages import among, batched
from control_plane.store.rows import fresh

_SPOOLS_MAX = 8
"""Spools remembered of one host; it starts one anew only when it has lost the one before."""
_LOST_MAX = 2**62
"""As high as what a host says it has lost is counted."""


@dataclass(frozen=True, slots=True)
class SpoolPosition:
    """The last record in the books, and what the host had to give up so far."""

    spool_id: str
    sequence: int
    lost_records: int
    lost_samples: int


_SPOOLS = "spools.of_node"
_SILENT = "spools.silent"
"""Under these, with a node's id, a transaction remembers what was read for many nodes at once."""


def load(tx: Tx, node_ids: Collection[NodeId]) -> None:
    """Read what `position` and `advance` look at for many nodes at once."""
    found: dict[str, list[SpoolRow]] = {node_id: [] for node_id in node_ids}
    for ids in batched(node_ids):
        query = select(SpoolRow).where(col(SpoolRow.node_id).in_(among(ids)))
        for row in tx.session.execute(
            query.order_by(col(SpoolRow.changed_at).desc(), col(SpoolRow.spool_id))
        ).scalars():
            found[row.node_id].append(row)
    for node_id, rows in found.items():
        tx.know((_SPOOLS, node_id), rows)
    for bare in batched(node_id for node_id, rows in found.items() if not rows):
        told = select(col(HealthEventRow.node_id)).where(col(HealthEventRow.node_id).in_(among(bare))).distinct()
        for node_id in set(bare) - set(tx.session.execute(told).scalars()):
            tx.know((_SILENT, node_id), value=True)


def _row(tx: Tx, node_id: NodeId, spool_id: str) -> SpoolRow | None:
    known: list[SpoolRow] | None = tx.known((_SPOOLS, node_id))
    if known is None:
        return tx.session.get(SpoolRow, (node_id, spool_id))
    return next((row for row in known if row.spool_id == spool_id), None)


def position(tx: Tx, node_id: NodeId, spool_id: str) -> int:
    """Return the sequence number of the last record of this spool in the books, or 0.

    A spool that is not remembered any more goes on after the last of its health events: they are not taken twice.
    """
    row = _row(tx, node_id, spool_id)
    if row is not None:
        return row.sequence
    if tx.known((_SILENT, node_id)) is not None:
        return 0
    query = select(func.max(col(HealthEventRow.sequence))).where(
        col(HealthEventRow.node_id) == node_id, col(HealthEventRow.spool_id) == spool_id
    )
    return int(tx.session.execute(query).scalar() or 0)


def of_node(tx: Tx, node_id: NodeId) -> tuple[SpoolPosition, ...]:
    """Return the node's spools, the newest first."""
    return tuple(
        SpoolPosition(row.spool_id, row.sequence, row.lost_records, row.lost_samples) for row in _rows(tx, node_id)
    )


def _rows(tx: Tx, node_id: NodeId) -> list[SpoolRow]:
    known: list[SpoolRow] | None = tx.known((_SPOOLS, node_id))
    if known is not None:
        return known
    query = select(SpoolRow).where(col(SpoolRow.node_id) == node_id)
    return list(tx.session.execute(query.order_by(col(SpoolRow.changed_at).desc(), col(SpoolRow.spool_id))).scalars())


def advance(
    tx: Tx, node_id: NodeId, spool_id: str, sequence: int, *, lost_records: int = 0, lost_samples: int = 0
) -> None:
    """Move the position, in the transaction that takes the records."""
    row = _row(tx, node_id, spool_id)
    if row is None:
        oldest = _rows(tx, node_id)[_SPOOLS_MAX - 1 :]
        for old in oldest:
            tx.delete(old)
        if oldest:
            tx.settle()  # or the session would still find them
        row = fresh(SpoolRow, {"node_id": node_id, "spool_id": spool_id, "changed_at": tx.now})
        tx.add(row)
        tx.forget((_SILENT, node_id))
        known: list[SpoolRow] | None = tx.known((_SPOOLS, node_id))
        if known is not None:
            tx.know((_SPOOLS, node_id), [row, *known[: _SPOOLS_MAX - 1]])
    moved = {
        "sequence": max(row.sequence, sequence),
        "lost_records": min(row.lost_records + lost_records, _LOST_MAX),
        "lost_samples": min(row.lost_samples + lost_samples, _LOST_MAX),
        "changed_at": tx.now,
    }
    tx.change(row, moved)
