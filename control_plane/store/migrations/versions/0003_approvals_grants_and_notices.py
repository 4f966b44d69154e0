"""Add approvals, grants and notices, and mark keys that agents use."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0003_approvals"
down_revision = "0002_health"


def upgrade() -> None:
    op.add_column("actions", sa.Column("approval_need", sa.JSON(), nullable=True))
    op.add_column("actions", sa.Column("policy_version", sa.String(), nullable=False, server_default=""))
    op.add_column("actions", sa.Column("run_id", sa.String(), nullable=True))
    op.add_column("actions", sa.Column("tainted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("actions", sa.Column("is_person", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("actions", sa.Column("undoes", sa.String(), nullable=True))
    op.add_column("actions", sa.Column("undone_by", sa.String(), nullable=True))
    op.create_index(op.f("ix_actions_run_id"), "actions", ["run_id"], unique=False)
    op.create_index(op.f("ix_actions_undoes"), "actions", ["undoes"], unique=False)
    op.add_column("api_keys", sa.Column("for_agent", sa.Boolean(), nullable=False, server_default=sa.false()))
    _let_waiting_actions_need_one_operator()
    op.create_table(
        "grants",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("granted_by", sa.String(), nullable=False),
        sa.Column("kinds", sa.String(), nullable=False),
        sa.Column("covered_user_id", sa.String(), nullable=True),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("budget_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("used_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("uses_max", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["covered_user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("grants_by_age", "grants", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_grants_expires_at"), "grants", ["expires_at"], unique=False)
    op.create_index(op.f("ix_grants_user_id"), "grants", ["user_id"], unique=False)
    op.create_table(
        "approvals",
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("approver", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("policy_version", sa.String(), nullable=False),
        sa.Column("estimate_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("approved_at", UtcDateTime(), nullable=False),
        sa.Column("grant_id", sa.String(), nullable=True),
        sa.Column("void_reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["action_id"], ["actions.id"]),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("action_id", "user_id"),
    )
    op.create_table(
        "notices",
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("dead_at", UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "kind", "endpoint"),
    )
    op.create_index(op.f("ix_notices_created_at"), "notices", ["created_at"], unique=False)
    op.create_index(op.f("ix_notices_next_at"), "notices", ["next_at"], unique=False)


def _let_waiting_actions_need_one_operator() -> None:
    """That is what they waited for when nothing else could be asked for."""
    actions = sa.table("actions", sa.column("state"), sa.column("approval_need", sa.JSON()))
    need = {"count": 1, "allowed": [], "ttl_seconds": 1800}
    op.get_bind().execute(actions.update().where(actions.c.state == "awaiting_approval").values(approval_need=need))


def downgrade() -> None:
    op.drop_index(op.f("ix_notices_next_at"), table_name="notices")
    op.drop_index(op.f("ix_notices_created_at"), table_name="notices")
    op.drop_table("notices")
    op.drop_table("approvals")
    op.drop_index(op.f("ix_grants_user_id"), table_name="grants")
    op.drop_index(op.f("ix_grants_expires_at"), table_name="grants")
    op.drop_index("grants_by_age", table_name="grants")
    op.drop_table("grants")
    op.drop_column("api_keys", "for_agent")
    op.drop_index(op.f("ix_actions_undoes"), table_name="actions")
    op.drop_index(op.f("ix_actions_run_id"), table_name="actions")
    for column in ("undone_by", "undoes", "is_person", "tainted", "run_id", "policy_version", "approval_need"):
        op.drop_column("actions", column)
