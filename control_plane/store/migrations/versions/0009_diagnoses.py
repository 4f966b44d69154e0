"""Keep what models were asked about causes, and what they answered."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0009_diagnoses"
down_revision = "0008_rollups"


def upgrade() -> None:
    op.create_table(
        "diagnoses",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("basis", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("asks", sa.Integer(), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column("vain", sa.Text(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_index("diagnoses_of_user", "diagnoses", ["user_id", "asked_at"], unique=False)
    op.create_index("diagnoses_by_age", "diagnoses", ["asked_at"], unique=False)


def downgrade() -> None:
    op.drop_index("diagnoses_by_age", table_name="diagnoses")
    op.drop_index("diagnoses_of_user", table_name="diagnoses")
    op.drop_table("diagnoses")
