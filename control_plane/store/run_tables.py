"""The tables of reasoning runs; `tables.py` has the others."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Text
from sqlalchemy.types import JSON
from sqlmodel import Field

from control_plane.store.tables import Table
from control_plane.store.types import Sequence, UtcDateTime


def _json() -> Any:  # Any: SQLModel's Field takes a column of any type
    return Column(JSON, nullable=False)


class RunRow(Table, table=True):
    """A reasoning run and what its loop has to know."""

    __tablename__ = "runs"
    id: str = Field(primary_key=True)
    agent_name: str
    goal_id: str | None = Field(default=None, index=True)
    incident_id: str | None = None
    user_id: str | None = Field(default=None, index=True)
    state: str = Field(index=True)
    status_reason: str = Field(default="", sa_type=Text)
    result: str = Field(default="", sa_type=Text)
    reasoner: str
    tainted: bool = False
    turns: int = 0
    tool_calls: int = 0
    input_tokens: int = Field(default=0, sa_type=BigInteger)
    output_tokens: int = Field(default=0, sa_type=BigInteger)
    cost_usd_micros: int = Field(default=0, sa_type=BigInteger)
    seconds: float = 0.0
    limits: dict[str, Any] = Field(sa_column=_json())  # Any: nested JSON
    diagnosis: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))  # Any: nested JSON
    planned: list[list[str]] = Field(sa_column=_json())
    waits_for: list[str] = Field(sa_column=_json())
    watches: list[str] = Field(sa_column=_json())
    notes: dict[str, Any] = Field(sa_column=_json())  # Any: nested JSON
    wake_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    stop_reason: str = ""
    events: int = 0
    started_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    version: int = 1
    __table_args__ = (Index("runs_by_age", "started_at", "id"),)


class RunStepRow(Table, table=True):
    """One step: intent first, then its outcome."""

    __tablename__ = "run_steps"
    run_id: str = Field(primary_key=True, foreign_key="runs.id")
    number: int = Field(primary_key=True)
    intent: dict[str, Any] = Field(sa_column=_json())  # Any: nested JSON
    outcome: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))  # Any: nested JSON
    started_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RunEventRow(Table, table=True):
    """One thing that an agent thought or did; `id` orders the events of all runs."""

    __tablename__ = "run_events"
    id: int | None = Field(default=None, primary_key=True, sa_type=Sequence)
    run_id: str
    sequence: int
    agent_name: str
    goal_id: str | None = None
    user_id: str | None = None
    type: str
    message: str = Field(default="", sa_type=Text)
    data_json: str = Field(default="{}", sa_type=Text)
    evidence_ids: list[str] = Field(sa_column=_json())
    tainted: bool = False
    created_at: datetime = Field(sa_type=UtcDateTime)
    __table_args__ = (
        Index("run_events_of_run", "run_id", "sequence", unique=True),
        {"sqlite_autoincrement": True},
    )
