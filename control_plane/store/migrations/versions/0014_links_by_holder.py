"""Find the links of one replica without reading those of all."""

from alembic import op

revision = "0014_links_by_holder"
down_revision = "0013_node_sightings"


def upgrade() -> None:
    op.create_index("control_by_value", "control", ["value", "key"])


def downgrade() -> None:
    op.drop_index("control_by_value", table_name="control")
