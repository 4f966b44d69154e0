"""Keep telemetry of the minutes in which hosts could not send raw samples."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0008_rollups"
down_revision = "0007_memory"


def upgrade() -> None:
    op.create_table(
        "telemetry_rollups",
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"]),
        sa.PrimaryKeyConstraint("node_id", "started_at"),
    )
    op.create_index(op.f("ix_telemetry_rollups_started_at"), "telemetry_rollups", ["started_at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_telemetry_rollups_started_at"), table_name="telemetry_rollups")
    op.drop_table("telemetry_rollups")
