"""The state of each agent in the database."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.model.agent import AgentRecord, AgentStatus
from control_plane.model.record import Noun
from control_plane.store.database import Tx
from control_plane.store.tables import AgentRow


def _model(row: AgentRow) -> AgentRecord:
    return AgentRecord(
        name=row.agent_name,
        status=AgentStatus(row.status),
        paused=row.paused,
        last_action=row.last_action,
        last_error=row.last_error,
        metrics=row.metrics,
        updated_at=row.updated_at,
    )


def register(tx: Tx, name: str) -> None:
    """Make sure that the agent has a record; a paused one stays paused."""
    row = tx.session.get(AgentRow, name)
    if row is None:
        row = AgentRow(agent_name=name, status=AgentStatus.IDLE.value, metrics={}, updated_at=tx.now)
    row.status = AgentStatus.IDLE.value
    tx.session.add(row)


def get(tx: Tx, name: str) -> AgentRecord | None:
    """Return the agent, or None."""
    row = tx.session.get(AgentRow, name)
    return None if row is None else _model(row)


def every(tx: Tx) -> tuple[AgentRecord, ...]:
    """Return the agents by name."""
    rows = tx.session.execute(select(AgentRow).order_by(col(AgentRow.agent_name))).scalars()
    return tuple(_model(row) for row in rows)


def set_paused(tx: Tx, name: str, *, paused: bool) -> AgentRecord:
    """Pause or resume the agent. Raises NotFound."""
    row = tx.session.get(AgentRow, name)
    if row is None:
        raise NotFound(f"there is no agent {name!r}; list them with: orquanta agent list", reason="AGENT_NOT_FOUND")
    row.paused = paused
    row.updated_at = tx.now
    tx.session.add(row)
    tx.emit(Noun.AGENT, name, "agent.paused" if paused else "agent.resumed", "", parent_id=name)
    return _model(row)


def record(
    tx: Tx,
    name: str,
    *,
    status: AgentStatus,
    last_action: str | None = None,
    last_error: str = "",
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write what the agent did last."""
    row = tx.session.get(AgentRow, name)
    if row is None:
        raise LookupError(f"agent {name} was never registered")
    row.status = status.value
    row.last_action = row.last_action if last_action is None else last_action
    row.last_error = last_error
    row.metrics = {**row.metrics, **(metrics or {})}
    row.updated_at = tx.now
    tx.session.add(row)
    tx.emit(Noun.AGENT, name, f"agent.{status.value}", row.last_action, parent_id=name)
