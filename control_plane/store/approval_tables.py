"""The tables of approvals, grants and notices; `tables.py` has the actions."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field

from control_plane.store.health_tables import ConditionRow
from control_plane.store.tables import Table
from control_plane.store.types import UtcDateTime

metadata = ConditionRow.metadata
"""Every table: importing this module makes all of them known."""


class ApprovalRow(Table, table=True):
    """One person's yes to one action; the key makes a second one of the same person impossible.

    `void_reason` says why it does not count any more; the person may approve again.
    """

    __tablename__ = "approvals"
    action_id: str = Field(primary_key=True, foreign_key="actions.id")
    user_id: str = Field(primary_key=True, foreign_key="users.id")
    approver: str
    hash: str
    policy_version: str
    estimate_usd_micros: int = Field(sa_type=BigInteger)
    reason: str = Field(sa_type=Text)
    approved_at: datetime = Field(sa_type=UtcDateTime)
    grant_id: str | None = Field(default=None, foreign_key="grants.id")
    void_reason: str = ""


class GrantRow(Table, table=True):
    """An approval given beforehand; `kinds` is a list with commas around each, so that it can be searched."""

    __tablename__ = "grants"
    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    granted_by: str
    kinds: str
    covered_user_id: str | None = Field(default=None, foreign_key="users.id")
    pool: str
    budget_usd_micros: int = Field(sa_type=BigInteger)
    used_usd_micros: int = Field(default=0, sa_type=BigInteger)
    uses_max: int
    uses: int = 0
    reason: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_by: str = ""
    __table_args__ = (Index("grants_by_age", "created_at", "id"),)


class NoticeRow(Table, table=True):
    """A message to one endpoint about one thing: each is written once, and sent until it has arrived or is dead."""

    __tablename__ = "notices"
    subject_id: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    endpoint: str = Field(primary_key=True)
    body: str = Field(sa_type=Text)
    attempts: int = 0
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    dead_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime, index=True)
