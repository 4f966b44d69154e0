"""Add health, incidents and repairs."""

import sqlalchemy as sa
from alembic import op

from control_plane.store.types import UtcDateTime

revision = "0002_health"
down_revision = "0001_initial"


def upgrade() -> None:
    op.create_table(
        "bounds",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Float(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "condition_orders",
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("condition_id", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("clear", sa.Boolean(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["nodes.id"],
        ),
        sa.PrimaryKeyConstraint("node_id", "condition_id"),
    )
    op.create_table(
        "health_events",
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("spool_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("condition_id", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["nodes.id"],
        ),
        sa.PrimaryKeyConstraint("node_id", "spool_id", "sequence"),
    )
    op.create_index(op.f("ix_health_events_recorded_at"), "health_events", ["recorded_at"], unique=False)
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("node_name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("diagnosis", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=False),
        sa.Column("conditions", sa.JSON(), nullable=False),
        sa.Column("active_ids", sa.JSON(), nullable=False),
        sa.Column("gpu_uuids", sa.JSON(), nullable=False),
        sa.Column("acknowledged_by", sa.String(), nullable=False),
        sa.Column("taken_over", sa.Boolean(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("observed_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("cordoned_at", UtcDateTime(), nullable=True),
        sa.Column("drained_at", UtcDateTime(), nullable=True),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["nodes.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incidents_by_age", "incidents", ["created_at", "id"], unique=False)
    op.create_index("incidents_by_node", "incidents", ["node_id", "created_at"], unique=False)
    op.create_index(
        "incidents_one_open",
        "incidents",
        ["node_id"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(op.f("ix_incidents_state"), "incidents", ["state"], unique=False)
    op.create_table(
        "node_conditions",
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("condition_id", sa.String(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("gpu_uuid", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["nodes.id"],
        ),
        sa.PrimaryKeyConstraint("node_id", "condition_id"),
    )
    op.create_index(op.f("ix_node_conditions_severity"), "node_conditions", ["severity"], unique=False)
    op.create_table(
        "node_spools",
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("spool_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("lost_records", sa.BigInteger(), nullable=False),
        sa.Column("lost_samples", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["nodes.id"],
        ),
        sa.PrimaryKeyConstraint("node_id", "spool_id"),
    )
    op.create_table(
        "incident_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("incident_id", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("action_id", sa.String(), nullable=False),
        sa.Column("repair_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incidents.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_incident_entries_incident_id"), "incident_entries", ["incident_id"], unique=False)
    op.create_table(
        "repairs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("incident_id", sa.String(), nullable=True),
        sa.Column("action_id", sa.String(), nullable=True),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("gpu_uuids", sa.JSON(), nullable=False),
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("process_ids", sa.JSON(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("condition_ids", sa.JSON(), nullable=False),
        sa.Column("ordered_at", UtcDateTime(), nullable=False),
        sa.Column("not_after", UtcDateTime(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("verifying_at", UtcDateTime(), nullable=True),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("handoff_json", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("host_repair_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incidents.id"],
        ),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["nodes.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_repairs_incident_id"), "repairs", ["incident_id"], unique=False)
    op.create_index("repairs_by_node", "repairs", ["node_id", "ordered_at"], unique=False)
    op.create_index(
        "repairs_one_order",
        "repairs",
        ["node_id"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL AND origin = 'control_plane'"),
        postgresql_where=sa.text("closed_at IS NULL AND origin = 'control_plane'"),
    )
    op.add_column("allocations", sa.Column("moved", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("moves", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("hold", sa.String(), nullable=False, server_default=""))
    op.add_column("nodes", sa.Column("pool", sa.String(), nullable=False, server_default=""))
    op.add_column("nodes", sa.Column("rack", sa.String(), nullable=False, server_default=""))
    op.create_index(op.f("ix_nodes_hold"), "nodes", ["hold"], unique=False)
    op.create_index(op.f("ix_nodes_pool"), "nodes", ["pool"], unique=False)
    op.create_index(op.f("ix_nodes_rack"), "nodes", ["rack"], unique=False)
    op.create_index(op.f("ix_actions_node_id"), "actions", ["node_id"], unique=False)
    _copy_labels()


def _copy_labels() -> None:
    """Pool and rack have columns of their own, so that they can be counted."""
    nodes = sa.table("nodes", sa.column("id"), sa.column("labels", sa.JSON()), sa.column("pool"), sa.column("rack"))
    bind = op.get_bind()
    for node_id, labels in bind.execute(sa.select(nodes.c.id, nodes.c.labels)).all():
        values = {name: str(labels.get(name, "")) for name in ("pool", "rack")}
        if any(values.values()):
            bind.execute(nodes.update().where(nodes.c.id == node_id).values(**values))


def downgrade() -> None:
    op.drop_index(op.f("ix_actions_node_id"), table_name="actions")
    op.drop_index(op.f("ix_nodes_rack"), table_name="nodes")
    op.drop_index(op.f("ix_nodes_pool"), table_name="nodes")
    op.drop_index(op.f("ix_nodes_hold"), table_name="nodes")
    op.drop_column("nodes", "rack")
    op.drop_column("nodes", "pool")
    op.drop_column("nodes", "hold")
    op.drop_column("jobs", "moves")
    op.drop_column("allocations", "moved")
    op.drop_index(
        "repairs_one_order",
        table_name="repairs",
        sqlite_where=sa.text("closed_at IS NULL AND origin = 'control_plane'"),
        postgresql_where=sa.text("closed_at IS NULL AND origin = 'control_plane'"),
    )
    op.drop_index("repairs_by_node", table_name="repairs")
    op.drop_index(op.f("ix_repairs_incident_id"), table_name="repairs")
    op.drop_table("repairs")
    op.drop_index(op.f("ix_incident_entries_incident_id"), table_name="incident_entries")
    op.drop_table("incident_entries")
    op.drop_table("node_spools")
    op.drop_index(op.f("ix_node_conditions_severity"), table_name="node_conditions")
    op.drop_table("node_conditions")
    op.drop_index(op.f("ix_incidents_state"), table_name="incidents")
    op.drop_index(
        "incidents_one_open",
        table_name="incidents",
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.drop_index("incidents_by_node", table_name="incidents")
    op.drop_index("incidents_by_age", table_name="incidents")
    op.drop_table("incidents")
    op.drop_index(op.f("ix_health_events_recorded_at"), table_name="health_events")
    op.drop_table("health_events")
    op.drop_table("condition_orders")
    op.drop_table("bounds")
