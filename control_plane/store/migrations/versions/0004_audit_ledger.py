"""Make the audit a hash chain with the words of people apart, and add its checkpoints."""

import json
import secrets

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime
from orquanta.ledger.chain import GENESIS, HASH_BYTES, canonical_json, private_hash, record_hash
from orquanta.ledger.records import canonical_record

revision = "0004_audit"
down_revision = "0003_approvals"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IDS = ("action_id", "goal_id", "job_id", "node_id", "run_id", "user_id")

_REFUSED = "SELECT RAISE(ABORT, '{table} is append-only');"
_NO_UPDATE = "CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN {refused} END"
_NO_DELETE = "CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN {kept} BEGIN {refused} END"
# REPLACE deletes a row without firing its delete trigger.
_NO_REPLACE = """
CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key}) BEGIN {refused} END
"""
_NO_UPDATE_POSTGRESQL = """
CREATE TRIGGER {table}_no_update BEFORE UPDATE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()
"""
_NO_DELETE_POSTGRESQL = """
CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()
"""
_REFUSE = """
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
"""
_UNARCHIVED = """
CREATE OR REPLACE FUNCTION audit_unarchived() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.id > (SELECT coalesce(max(up_to), 0) FROM audit_prunes) THEN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
  END IF;
  RETURN OLD;
END $$
"""


def _protect(table: str, key: str, *, words: bool = False) -> None:
    """Refuse updates, and deletions but those of archived records and of words."""
    if op.get_bind().dialect.name == "sqlite":
        archived = "OLD.id > (SELECT coalesce(max(up_to), 0) FROM audit_prunes)"
        kept = archived if table == "audit_records" else "1"
        statements = (_NO_UPDATE, _NO_REPLACE) if words else (_NO_UPDATE, _NO_REPLACE, _NO_DELETE)
        for statement in statements:
            op.execute(statement.format(table=table, key=key, kept=kept, refused=_REFUSED.format(table=table)))
        return
    op.execute(_NO_UPDATE_POSTGRESQL.format(table=table))
    if not words:
        function = "audit_unarchived" if table == "audit_records" else "audit_refuse"
        op.execute(_NO_DELETE_POSTGRESQL.format(table=table, function=function))


def _create() -> None:
    op.create_table(
        "audit_records",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("cost_impact", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in _IDS),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for name in _IDS:
        op.create_index(op.f(f"ix_audit_records_{name}"), "audit_records", [name], unique=False)
    op.create_table(
        "audit_words",
        sa.Column("record_id", _ID, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("agent_name", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["record_id"], ["audit_records.id"]),
        sa.PrimaryKeyConstraint("record_id"),
    )
    op.create_index(op.f("ix_audit_words_agent_name"), "audit_words", ["agent_name"], unique=False)
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", _ID, autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "audit_prunes",
        sa.Column("up_to", _ID, autoincrement=False, nullable=False),
        sa.Column("last_hash", sa.LargeBinary(), nullable=False),
        sa.Column("archive", sa.String(), nullable=False),
        sa.Column("archive_sha256", sa.String(), nullable=False),
        sa.Column("pruned_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("up_to"),
    )


def _copy() -> None:
    """Chain the records that there are, numbered without gaps."""
    connection = op.get_bind()
    old = sa.Table("audit_log", sa.MetaData(), autoload_with=connection)
    records = sa.Table("audit_records", sa.MetaData(), autoload_with=connection)
    words = sa.Table("audit_words", sa.MetaData(), autoload_with=connection)
    created_at = sa.type_coerce(old.c.created_at, UtcDateTime())
    columns = [column for column in old.c if column.name not in ("created_at", "payload")]
    rows = connection.execute(
        sa.select(*columns, created_at.label("created_at"), sa.type_coerce(old.c.payload, sa.JSON()).label("payload"))
        .order_by(old.c.id)
        .execution_options(yield_per=1000)
    )
    previous = GENESIS
    for number, row in enumerate(rows.mappings(), start=1):
        fields = {name: row[name] for name in ("action", "outcome", "cost_impact", *_IDS) if name != "run_id"}
        fields["run_id"] = ""
        key = secrets.token_bytes(HASH_BYTES)
        document = canonical_json(
            {"agent_name": row["agent_name"], "reasoning": row["reasoning"], "payload": _plain(row["payload"])}
        )
        named = {"agent": "" if "@" in row["agent_name"] else row["agent_name"]}
        canonical = canonical_record(number, row["created_at"].isoformat(), fields | named, private_hash(key, document))
        hashed = record_hash(previous, canonical)
        chained = {"id": number, "previous_hash": previous, "hash": hashed, "canonical": canonical}
        when = sa.type_coerce(row["created_at"], UtcDateTime())
        connection.execute(records.insert().values(**chained, **fields, created_at=when))
        connection.execute(
            words.insert().values(record_id=number, key=key, agent_name=row["agent_name"], document=document)
        )
        previous = hashed


def _plain(payload: object) -> object:
    return json.loads(payload) if isinstance(payload, str) else payload


def upgrade() -> None:
    _create()
    _copy()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_REFUSE)
        op.execute(_UNARCHIVED)
    op.drop_table("audit_log")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS audit_log_refuse()")
    _protect("audit_records", "id")
    _protect("audit_words", "record_id", words=True)
    _protect("audit_checkpoints", "size")
    _protect("audit_prunes", "up_to")


def downgrade() -> None:
    raise NotImplementedError("a chained audit is not taken apart again; restore a backup")
