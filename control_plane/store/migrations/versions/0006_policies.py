"""Keep sets of policies, and what each action was judged by."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0006_policies"
down_revision = "0005_usage"


def upgrade() -> None:
    op.create_table(
        "policy_sets",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("loaded_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_table(
        "action_inputs",
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("policy_version", sa.String(), nullable=False),
        sa.Column("ruling", sa.String(), nullable=False),
        sa.Column("input_json", sa.Text(), nullable=False),
        sa.Column("judged_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["action_id"], ["actions.id"]),
        sa.PrimaryKeyConstraint("action_id"),
    )
    op.create_index(op.f("ix_action_inputs_judged_at"), "action_inputs", ["judged_at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_action_inputs_judged_at"), table_name="action_inputs")
    op.drop_table("action_inputs")
    op.drop_table("policy_sets")
