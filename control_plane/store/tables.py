"""The tables. Money is in millionths of a US dollar, times are UTC, states are the enums' values."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, MetaData, Text, text
from sqlalchemy.types import JSON
from sqlmodel import Field, SQLModel
from typing_extensions import override

from control_plane.store.types import Sequence, UnreadJson, UtcDateTime

metadata = MetaData()


class Table(SQLModel):
    """Base of every table, with metadata of its own."""

    metadata = metadata


class WaitingTable(Table):
    """Base of the tables whose rows `Tx.add` takes: what is assigned to such a row would not always be written."""

    @override
    def __setattr__(self, name: str, value: object) -> None:
        if name in type(self).model_fields:
            raise TypeError(f"{type(self).__name__}.{name} is set with Tx.change, and at first with fresh")
        super().__setattr__(name, value)


def _json() -> Any:  # Any: SQLModel's Field takes a column of any type
    return Column(JSON, nullable=False)


class UserRow(Table, table=True):
    """An account."""

    __tablename__ = "users"
    id: str = Field(primary_key=True)
    email: str = Field(unique=True)
    password_hash: str
    role: str
    disabled: bool = False
    created_at: datetime = Field(sa_type=UtcDateTime)
    budget_usd_micros: int | None = Field(default=None, sa_type=BigInteger)
    spent_usd_micros: int = Field(default=0, sa_type=BigInteger)
    reserved_usd_micros: int = Field(default=0, sa_type=BigInteger)
    max_gpus: int | None = None
    team: str = Field(default="", index=True, sa_column_kwargs={"server_default": ""})


class TeamRow(Table, table=True):
    """A team; `path` names the teams above it, for example "research/nlp"."""

    __tablename__ = "teams"
    path: str = Field(primary_key=True)
    weight: float = 1.0
    guaranteed_gpus: int = 0
    max_gpus: int | None = None


class ApiKeyRow(Table, table=True):
    """An API key; only the SHA-256 of its secret is kept."""

    __tablename__ = "api_keys"
    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    name: str
    secret_sha256: bytes
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    for_agent: bool = False


class JoinTokenRow(Table, table=True):
    """A join token; only the SHA-256 of its secret is kept."""

    __tablename__ = "join_tokens"
    id: str = Field(primary_key=True)
    secret_sha256: bytes
    created_by: str
    labels: dict[str, str] = Field(sa_column=_json())
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used_by_node_id: str | None = None
    used_key_fingerprint: str = ""
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class NodeRow(Table, table=True):
    """A node. `previous_serial` stays good until the node has used its renewed certificate.

    `pool` and `rack` are what the labels of these names say. `last_seen_at` is when its link last came up: for what was
    heard since see `SightingRow`.
    """

    __tablename__ = "nodes"
    id: str = Field(primary_key=True)
    name: str = Field(index=True)
    state: str = Field(index=True)
    status_reason: str = ""
    cordoned: bool = False
    hold: str = Field(default="", index=True)
    pool: str = Field(default="", index=True)
    rack: str = Field(default="", index=True)
    connected: bool = False
    inventory: dict[str, Any] | str | None = Field(default=None, sa_column=Column(UnreadJson))  # Any: nested JSON
    labels: dict[str, str] = Field(sa_column=_json())
    certificate_serial: str
    previous_serial: str = ""
    certificate_expires_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lost_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    version: int = 1
    __table_args__ = (
        # What the bounds count, for each repair of a node: without reading what each node is made of.
        Index(
            "nodes_in_fleet",
            "state",
            "hold",
            "rack",
            "pool",
            sqlite_where=text("last_seen_at IS NOT NULL"),
            postgresql_where=text("last_seen_at IS NOT NULL"),
        ),
    )


class SightingRow(Table, table=True):
    """When a node was last heard. It is written all the time, and the node's own row is kilobytes long."""

    __tablename__ = "node_sightings"
    node_id: str = Field(primary_key=True)
    heard_at: datetime = Field(sa_type=UtcDateTime)
    __table_args__ = ({"sqlite_with_rowid": False},)  # nodes whose ids are near each other are in one page


class GoalRow(Table, table=True):
    """A goal."""

    __tablename__ = "goals"
    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    user_email: str
    raw_text: str = Field(sa_type=Text)
    timezone: str
    status: str = Field(index=True)
    status_reason: str = Field(default="", sa_type=Text)
    plan: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))  # Any: nested JSON
    answers: dict[str, str] = Field(sa_column=_json())
    budget_usd_micros: int | None = Field(default=None, sa_type=BigInteger)
    result: str = Field(default="", sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    version: int = 1
    __table_args__ = (Index("goals_by_age", "created_at", "id"),)


class JobRow(Table, table=True):
    """A job; `spec` holds what it runs and needs."""

    __tablename__ = "jobs"
    id: str = Field(primary_key=True)
    goal_id: str | None = Field(default=None, foreign_key="goals.id", index=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    user_email: str
    team: str = Field(default="", index=True, sa_column_kwargs={"server_default": ""})
    name: str
    provider: str
    gpu_type: str = ""
    gpu_count: int = 0
    status: str = Field(index=True)
    status_reason: str = Field(default="", sa_type=Text)
    epoch: int = 0
    priority: int = 2
    cancel_requested: bool = False
    moves: int = 0
    cost_usd_micros: int = Field(default=0, sa_type=BigInteger)
    reserved_usd_micros: int = Field(default=0, sa_type=BigInteger)
    exit_code: int | None = None
    spec: dict[str, Any] = Field(sa_column=_json())  # Any: nested JSON
    job_metadata: dict[str, Any] = Field(sa_column=Column("metadata", JSON, nullable=False))  # Any: nested JSON
    created_at: datetime = Field(sa_type=UtcDateTime)
    queued_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    version: int = 1
    __table_args__ = (Index("jobs_by_age", "created_at", "id"),)


class AllocationRow(Table, table=True):
    """One attempt of a job. `gpu_milli` is what it holds of each of its GPUs, in thousandths."""

    __tablename__ = "allocations"
    id: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="jobs.id")
    epoch: int
    state: str = Field(index=True)
    gpu_type: str
    price_usd_micros_per_gpu_hour: int = Field(sa_type=BigInteger)
    max_runtime_seconds: int
    master_address: str = ""
    master_port: int = 0
    placement_reason: str = ""
    stop_requested: bool = False
    moved: bool = False
    preempted_for: str = Field(default="", sa_column_kwargs={"server_default": ""})
    gpu_milli: int = Field(default=1000, sa_column_kwargs={"server_default": "1000"})
    cost_usd_micros: int = Field(default=0, sa_type=BigInteger)
    waived: bool = False
    created_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    __table_args__ = (Index("allocations_by_attempt", "job_id", "epoch", unique=True),)


class AllocationMemberRow(Table, table=True):
    """The part of an allocation on one node."""

    __tablename__ = "allocation_members"
    allocation_id: str = Field(primary_key=True, foreign_key="allocations.id")
    rank: int = Field(primary_key=True)
    node_id: str = Field(foreign_key="nodes.id")
    node_name: str
    gpu_uuids: list[str] = Field(sa_column=_json())
    state: str
    exit_reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    peak_memory_bytes: int = Field(default=0, sa_type=BigInteger)
    gpu_seconds: float = 0.0
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    __table_args__ = (Index("members_by_node", "node_id", "state"),)


class GpuHoldRow(Table, table=True):
    """A GPU, a part of one or a MIG device that an attempt holds.

    `milli` is how much of it, in thousandths; `parent_uuid` the GPU that a MIG device is on.
    """

    __tablename__ = "gpu_holds"
    gpu_uuid: str = Field(primary_key=True)
    allocation_id: str = Field(primary_key=True, foreign_key="allocations.id", index=True)
    node_id: str = Field(foreign_key="nodes.id", index=True)
    job_id: str
    user_id: str = Field(index=True)
    team: str
    parent_uuid: str
    milli: int


class GpuUsageRow(Table, table=True):
    """How much of a GPU all holds together take. The constraint makes a double booking impossible."""

    __tablename__ = "gpu_usage"
    gpu_uuid: str = Field(primary_key=True)
    used_milli: int
    __table_args__ = (CheckConstraint("used_milli >= 0 AND used_milli <= 1000", name="gpu_used_at_most_once"),)


class ActionRow(WaitingTable, table=True):
    """A proposed effect and what became of it."""

    __tablename__ = "actions"
    id: str = Field(primary_key=True)
    kind: str
    proposer: str
    user_id: str | None = None
    goal_id: str | None = Field(default=None, index=True)
    job_id: str | None = Field(default=None, index=True)
    node_id: str | None = Field(default=None, index=True)
    state: str = Field(index=True)
    summary: str = Field(sa_type=Text)
    reasoning: str = Field(sa_type=Text)
    decision: list[str] = Field(sa_column=_json())
    hash: str
    arguments_json: str = Field(sa_type=Text)
    estimate_usd_micros: int = Field(default=0, sa_type=BigInteger)
    decided_by: str = ""
    outcome: str = Field(default="", sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    approval_need: dict[str, Any] | None = Field(  # Any: a count, a list, a number of seconds
        default=None, sa_column=Column(JSON(none_as_null=True))
    )
    policy_version: str = ""
    run_id: str | None = Field(default=None, index=True)
    tainted: bool = False
    is_person: bool = False
    undoes: str | None = Field(default=None, index=True)
    undone_by: str | None = None
    __table_args__ = (Index("actions_by_age", "created_at", "id"),)


class EventRow(Table, table=True):
    """A committed change, for watch streams and the event bus."""

    __tablename__ = "events"
    sequence: int | None = Field(default=None, primary_key=True, sa_type=Sequence)
    noun: str
    id: str
    parent_id: str = ""
    kind: str
    message: str = Field(default="", sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    __table_args__ = ({"sqlite_autoincrement": True},)


class AgentRow(Table, table=True):
    """The state of one agent."""

    __tablename__ = "agent_state"
    agent_name: str = Field(primary_key=True)
    status: str
    paused: bool = False
    last_action: str = ""
    last_error: str = ""
    metrics: dict[str, float] = Field(sa_column=_json())
    updated_at: datetime = Field(sa_type=UtcDateTime)


class RequestRow(Table, table=True):
    """What a retried mutation must return again."""

    __tablename__ = "requests"
    user_id: str = Field(primary_key=True)
    method: str = Field(primary_key=True)
    request_id: str = Field(primary_key=True)
    fingerprint: str
    result_id: str
    created_at: datetime = Field(sa_type=UtcDateTime, index=True)


class ControlRow(Table, table=True):
    """Single values: the control epoch and the kill switch."""

    __tablename__ = "control"
    key: str = Field(primary_key=True)
    value: str
    changed_by: str = ""
    reason: str = ""
    changed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    __table_args__ = (Index("control_by_value", "value", "key"),)  # which links a replica holds


class TraceRow(Table, table=True):
    """The W3C trace context that came with a goal or a job."""

    __tablename__ = "traces"
    id: str = Field(primary_key=True)
    traceparent: str
    created_at: datetime = Field(sa_type=UtcDateTime, index=True)
