"""Add what models are used for and what their endpoints can do."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0005_usage"
down_revision = "0004_runs"


def upgrade() -> None:
    op.create_table(
        "model_usage",
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("goal_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("agent_name", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("reserved_usd_micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "user_id", "goal_id", "run_id", "agent_name", "model"),
    )
    op.create_index("model_usage_by_goal", "model_usage", ["goal_id"], unique=False)
    op.create_index("model_usage_by_run", "model_usage", ["run_id"], unique=False)
    op.create_table(
        "model_features",
        sa.Column("endpoint_key", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("tools", sa.Boolean(), nullable=False),
        sa.Column("streams", sa.Boolean(), nullable=False),
        sa.Column("stream_usage", sa.Boolean(), nullable=False),
        sa.Column("stream_tools", sa.Boolean(), nullable=False),
        sa.Column("string_bounds", sa.Boolean(), nullable=False),
        sa.Column("completion_limit", sa.Boolean(), nullable=False),
        sa.Column("temperature", sa.Boolean(), nullable=False),
        sa.Column("probed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_key"),
    )


def downgrade() -> None:
    op.drop_table("model_features")
    op.drop_table("model_usage")
