"""The tables of health, incidents and repairs; `tables.py` has the others."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Text, text
from sqlalchemy.types import JSON
from sqlmodel import Field

from control_plane.store.tables import Table, WaitingTable
from control_plane.store.types import Sequence, UtcDateTime


def _json() -> Any:  # Any: SQLModel's Field takes a column of any type
    return Column(JSON, nullable=False)


class ConditionRow(WaitingTable, table=True):
    """What is wrong with a node now; `document` holds the whole condition."""

    __tablename__ = "node_conditions"
    node_id: str = Field(primary_key=True, foreign_key="nodes.id")
    condition_id: str = Field(primary_key=True)
    severity: int = Field(index=True)
    gpu_uuid: str = ""
    document: dict[str, Any] = Field(sa_column=_json())  # Any: nested JSON
    changed_at: datetime = Field(sa_type=UtcDateTime)


class ConditionOrderRow(Table, table=True):
    """What an operator said about a condition; kept until the condition is over."""

    __tablename__ = "condition_orders"
    node_id: str = Field(primary_key=True, foreign_key="nodes.id")
    condition_id: str = Field(primary_key=True)
    by: str
    clear: bool
    at: datetime = Field(sa_type=UtcDateTime)


class HealthEventRow(Table, table=True):
    """A change of a condition, by its place in its host's spool: each is here once."""

    __tablename__ = "health_events"
    node_id: str = Field(primary_key=True, foreign_key="nodes.id")
    spool_id: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    event_id: str
    kind: str
    condition_id: str
    document: dict[str, Any] = Field(sa_column=_json())  # Any: nested JSON
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    recorded_at: datetime = Field(sa_type=UtcDateTime, index=True)


class RollupRow(Table, table=True):
    """Telemetry of one host during one minute in which it could not send raw samples."""

    __tablename__ = "telemetry_rollups"
    node_id: str = Field(primary_key=True, foreign_key="nodes.id")
    started_at: datetime = Field(primary_key=True, sa_type=UtcDateTime, index=True)
    samples: int
    gpus: list[dict[str, Any]] = Field(sa_column=_json())  # Any: nested JSON


class SpoolRow(WaitingTable, table=True):
    """How far a host's spool is in the books, and what it had to give up."""

    __tablename__ = "node_spools"
    node_id: str = Field(primary_key=True, foreign_key="nodes.id")
    spool_id: str = Field(primary_key=True)
    sequence: int = Field(default=0, sa_type=BigInteger)
    lost_records: int = Field(default=0, sa_type=BigInteger)
    lost_samples: int = Field(default=0, sa_type=BigInteger)
    changed_at: datetime = Field(sa_type=UtcDateTime)


class IncidentRow(WaitingTable, table=True):
    """A trouble of a node. `conditions` are whole ones as they were last seen; `created_at` is when it was opened."""

    __tablename__ = "incidents"
    id: str = Field(primary_key=True)
    node_id: str = Field(foreign_key="nodes.id")
    node_name: str
    state: str = Field(index=True)
    summary: str = Field(sa_type=Text)
    diagnosis: str = Field(sa_type=Text)
    status_reason: str = Field(default="", sa_type=Text)
    conditions: list[dict[str, Any]] = Field(sa_column=_json())  # Any: nested JSON
    active_ids: list[str] = Field(sa_column=_json())
    gpu_uuids: list[str] = Field(sa_column=_json())
    acknowledged_by: str = ""
    taken_over: bool = False
    requested_by: str = ""
    observed_at: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    cordoned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    drained_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    version: int = 1
    __table_args__ = (
        Index("incidents_by_age", "created_at", "id"),
        Index("incidents_by_node", "node_id", "created_at"),
        Index(
            "incidents_one_open",
            "node_id",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )


class IncidentEntryRow(Table, table=True):
    """One entry of an incident's history."""

    __tablename__ = "incident_entries"
    id: int | None = Field(default=None, primary_key=True, sa_type=Sequence)
    incident_id: str = Field(foreign_key="incidents.id", index=True)
    at: datetime = Field(sa_type=UtcDateTime)
    kind: str
    message: str = Field(sa_type=Text)
    action_id: str = ""
    repair_id: str = ""


class RepairRow(WaitingTable, table=True):
    """A repair: its order and what its host said about it. The database refuses a second order to one node."""

    __tablename__ = "repairs"
    id: str = Field(primary_key=True)
    node_id: str = Field(foreign_key="nodes.id")
    incident_id: str | None = Field(default=None, foreign_key="incidents.id", index=True)
    action_id: str | None = None
    origin: str
    rung: int
    state: str
    reason: str = Field(sa_type=Text)
    gpu_uuids: list[str] = Field(sa_column=_json())
    service: str = ""
    process_ids: list[int] = Field(sa_column=_json())
    dry_run: bool = False
    condition_ids: list[str] = Field(sa_column=_json())
    ordered_at: datetime = Field(sa_type=UtcDateTime)
    not_after: datetime | None = Field(default=None, sa_type=UtcDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    verifying_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    message: str = Field(default="", sa_type=Text)
    steps: list[dict[str, Any]] = Field(sa_column=_json())  # Any: nested JSON
    checks: list[dict[str, Any]] = Field(sa_column=_json())  # Any: nested JSON
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    handoff_json: str = Field(default="", sa_type=Text)
    policy_version: int = Field(default=0, sa_type=BigInteger)
    host_repair_id: str = ""
    __table_args__ = (
        Index("repairs_by_node", "node_id", "ordered_at"),
        Index(
            "repairs_one_order",
            "node_id",
            unique=True,
            sqlite_where=text("closed_at IS NULL AND origin = 'control_plane'"),
            postgresql_where=text("closed_at IS NULL AND origin = 'control_plane'"),
        ),
    )


class BoundRow(Table, table=True):
    """How much may be out of service at once."""

    __tablename__ = "bounds"
    scope: str = Field(primary_key=True)
    most: int
    percent: float
    changed_by: str
    changed_at: datetime = Field(sa_type=UtcDateTime)
