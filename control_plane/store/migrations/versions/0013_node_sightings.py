"""Keep when a node was last heard apart from its row, which is kilobytes long."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0013_node_sightings"
down_revision = "0012_nodes_in_fleet"


def upgrade() -> None:
    op.create_table(
        "node_sightings",
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("heard_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("node_id"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("node_sightings")
