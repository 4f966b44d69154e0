"""Telemetry of the minutes in which hosts could not send raw samples; bounded, and each minute once."""

from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import delete, func, select
from sqlmodel import col

from control_plane.model.ids import NodeId
from control_plane.model.telemetry import GpuMinute, Rollup
from control_plane.store.database import Tx
from control_plane.store.health_tables import RollupRow

_GPUS = TypeAdapter(tuple[GpuMinute, ...])


def keep(tx: Tx, node_id: NodeId, rollup: Rollup) -> None:
    """Keep a minute of a host. One that is there already stays as it is."""
    began = rollup.started_at.replace(second=0, microsecond=0)
    if tx.session.get(RollupRow, (node_id, began)) is None:
        gpus = _GPUS.dump_python(rollup.gpus, mode="json")
        tx.session.add(RollupRow(node_id=node_id, started_at=began, samples=rollup.samples, gpus=gpus))


def of_node(tx: Tx, node_id: NodeId, *, since: datetime, limit: int) -> tuple[Rollup, ...]:
    """Return a host's minutes from `since` on, oldest first, at most `limit`."""
    query = select(RollupRow).where(col(RollupRow.node_id) == node_id, col(RollupRow.started_at) >= since)
    rows = tx.session.execute(query.order_by(col(RollupRow.started_at)).limit(limit)).scalars()
    return tuple(Rollup(row.started_at, row.samples, _GPUS.validate_python(row.gpus)) for row in rows)


def prune(tx: Tx, *, before: datetime, most: int) -> int:
    """Delete what is older than `before`, and of the rest all but the newest `most` minutes; return how many."""
    query = select(col(RollupRow.started_at)).order_by(col(RollupRow.started_at).desc()).offset(most).limit(1)
    oldest_kept = tx.session.execute(query).scalar()
    limit = before if oldest_kept is None else max(before, oldest_kept)
    gone = tx.session.execute(delete(RollupRow).where(col(RollupRow.started_at) < limit))
    return int(gone.rowcount)  # type: ignore[attr-defined]  # a DELETE's result counts its rows


def count(tx: Tx) -> int:
    """Return how many minutes are kept."""
    return int(tx.session.execute(select(func.count()).select_from(RollupRow)).scalar() or 0)
