"""Count the nodes that are out of service without reading what each is made of."""

import sqlalchemy as sa
from alembic import op

revision = "0012_nodes_in_fleet"
down_revision = "0011_traces"


def upgrade() -> None:
    op.create_index(
        "nodes_in_fleet",
        "nodes",
        ["state", "hold", "rack", "pool"],
        sqlite_where=sa.text("last_seen_at IS NOT NULL"),
        postgresql_where=sa.text("last_seen_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("nodes_in_fleet", table_name="nodes")
