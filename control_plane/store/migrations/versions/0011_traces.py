"""Remember in whose trace goals and jobs were submitted."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0011_traces"
down_revision = "0010_parts"


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("traceparent", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_traces_created_at"), "traces", ["created_at"], unique=False)
    op.create_index(op.f("ix_jobs_started_at"), "jobs", ["started_at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_started_at"), table_name="jobs")
    op.drop_table("traces")
