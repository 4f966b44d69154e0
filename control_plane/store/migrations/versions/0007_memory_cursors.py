"""Keep how far memory has been written."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0007_memory"
down_revision = "0006_policies"


def upgrade() -> None:
    op.create_table(
        "memory_cursors",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("memory_cursors")
