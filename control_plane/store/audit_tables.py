"""The tables of the audit. The migrations forbid changing a row, and deleting one that was not archived first."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, ForeignKey, Text
from sqlmodel import Field

from control_plane.store.tables import Table
from control_plane.store.types import Sequence, UtcDateTime


class AuditRow(Table, table=True):
    """A record of the audit, without the words of people. `canonical` is what the hash covers; the rest repeats it."""

    __tablename__ = "audit_records"
    id: int = Field(sa_column=Column(Sequence, primary_key=True, autoincrement=False))
    previous_hash: bytes
    hash: bytes
    canonical: str = Field(sa_type=Text)
    action: str
    outcome: str
    cost_impact: int = Field(default=0, sa_type=BigInteger)
    action_id: str = Field(default="", index=True)
    goal_id: str = Field(default="", index=True)
    job_id: str = Field(default="", index=True)
    node_id: str = Field(default="", index=True)
    run_id: str = Field(default="", index=True)
    user_id: str = Field(default="", index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class AuditWordsRow(Table, table=True):
    """The words of a record: author, reasoning and payload as JSON, and the key of their hash. Deleted when erased."""

    __tablename__ = "audit_words"
    record_id: int = Field(sa_column=Column(Sequence, ForeignKey("audit_records.id"), primary_key=True))
    key: bytes
    agent_name: str = Field(index=True)
    document: str = Field(sa_type=Text)


class AuditCheckpointRow(Table, table=True):
    """A signed checkpoint. `frontier` is the tree's right edge, so that the next one goes on from here."""

    __tablename__ = "audit_checkpoints"
    size: int = Field(sa_column=Column(Sequence, primary_key=True, autoincrement=False))
    origin: str
    root: bytes
    signature: bytes
    public_key: bytes
    frontier: bytes
    signed_at: datetime = Field(sa_type=UtcDateTime)


class AuditPruneRow(Table, table=True):
    """Records up to this one were archived and deleted. The tree up to it is that of the checkpoint of this size."""

    __tablename__ = "audit_prunes"
    up_to: int = Field(sa_column=Column(Sequence, primary_key=True, autoincrement=False))
    last_hash: bytes
    archive: str
    archive_sha256: str
    pruned_at: datetime = Field(sa_type=UtcDateTime)
