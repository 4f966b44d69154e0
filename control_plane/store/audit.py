"""The audit log: records are added, never changed; the database itself refuses anything else."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.ids import UserId
from control_plane.model.money import from_micros, to_micros
from control_plane.model.record import AuditRecord
from control_plane.store.database import Tx
from control_plane.store.pages import Page, PageRequest, by_key
from control_plane.store.tables import AuditRow


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records; empty means all. `user_id` limits to what was done by or for that user."""

    goal_id: str = ""
    job_id: str = ""
    node_id: str = ""
    agent_name: str = ""
    action_id: str = ""
    since: datetime | None = None
    user_id: UserId | None = None


def _model(row: AuditRow) -> AuditRecord:
    return AuditRecord(
        id=row.id or 0,
        agent_name=row.agent_name,
        action=row.action,
        reasoning=row.reasoning,
        payload_json=json.dumps(row.payload, sort_keys=True),
        outcome=row.outcome,
        cost_impact_usd=from_micros(row.cost_impact),
        created_at=row.created_at,
        action_id=row.action_id,
        goal_id=row.goal_id,
        job_id=row.job_id,
        node_id=row.node_id,
    )


def append(
    tx: Tx,
    *,
    agent_name: str,
    action: str,
    reasoning: str,
    outcome: str,
    payload: Mapping[str, object] | None = None,
    cost_impact_usd: Decimal = Decimal(0),
    action_id: str = "",
    goal_id: str = "",
    job_id: str = "",
    node_id: str = "",
    user_id: str = "",
) -> None:
    """Add a record. `payload` must be JSON-compatible and free of secrets."""
    tx.session.add(
        AuditRow(
            agent_name=agent_name,
            action=action,
            reasoning=reasoning,
            payload=dict(payload or {}),
            outcome=outcome,
            cost_impact=to_micros(cost_impact_usd),
            action_id=action_id,
            goal_id=goal_id,
            job_id=job_id,
            node_id=node_id,
            user_id=user_id,
            created_at=tx.now,
        )
    )


def has_done(tx: Tx, action: str, agent_name: str, *, goal_id: str) -> bool:
    """Return whether there is a record of this action of this person or agent for a goal."""
    query = select(col(AuditRow.id)).where(
        col(AuditRow.goal_id) == goal_id, col(AuditRow.action) == action, col(AuditRow.agent_name) == agent_name
    )
    return tx.session.execute(query.limit(1)).first() is not None


def has_recent(tx: Tx, action: str, *, node_id: str, within: timedelta = timedelta(hours=1)) -> bool:
    """Return whether there is a record of this action about a node that is not older than `within`."""
    query = select(col(AuditRow.id)).where(
        col(AuditRow.node_id) == node_id, col(AuditRow.action) == action, col(AuditRow.created_at) > tx.now - within
    )
    return tx.session.execute(query.limit(1)).first() is not None


def page(tx: Tx, which: AuditFilter, request: PageRequest) -> Page[AuditRecord]:
    """Return a page of records, newest first."""
    query = select(AuditRow)
    for name in ("goal_id", "job_id", "node_id", "agent_name", "action_id", "user_id"):
        wanted = getattr(which, name)
        if wanted:
            query = query.where(getattr(AuditRow, name) == wanted)
    if which.since:
        query = query.where(col(AuditRow.created_at) >= which.since)
    rows, token = by_key(tx.session, query, request, col(AuditRow.id), descending=True)
    return Page(tuple(_model(row) for row in rows), token)
