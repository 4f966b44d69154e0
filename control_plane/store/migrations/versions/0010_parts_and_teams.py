"""Let several attempts hold parts of one GPU, and let accounts and jobs count for teams."""

import sqlalchemy as sa
from alembic import op

revision = "0010_parts"
down_revision = "0009_diagnoses"


def upgrade() -> None:
    op.create_table(
        "teams",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("guaranteed_gpus", sa.Integer(), nullable=False),
        sa.Column("max_gpus", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("path"),
    )
    op.add_column("users", sa.Column("team", sa.String(), nullable=False, server_default=""))
    op.create_index(op.f("ix_users_team"), "users", ["team"], unique=False)
    op.add_column("jobs", sa.Column("team", sa.String(), nullable=False, server_default=""))
    op.create_index(op.f("ix_jobs_team"), "jobs", ["team"], unique=False)
    op.add_column("allocations", sa.Column("gpu_milli", sa.Integer(), nullable=False, server_default="1000"))
    op.add_column("allocations", sa.Column("preempted_for", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "gpu_usage",
        sa.Column("gpu_uuid", sa.String(), nullable=False),
        sa.Column("used_milli", sa.Integer(), nullable=False),
        sa.CheckConstraint("used_milli >= 0 AND used_milli <= 1000", name="gpu_used_at_most_once"),
        sa.PrimaryKeyConstraint("gpu_uuid"),
    )
    op.execute("INSERT INTO gpu_usage (gpu_uuid, used_milli) SELECT gpu_uuid, 1000 FROM gpu_holds")
    _replace_holds(
        "SELECT gpu_uuid, allocation_id, node_id, job_id, user_id, '', '', 1000 FROM earlier_holds", parts=True
    )


def downgrade() -> None:
    """Attempts that share a GPU cannot be told apart before this; the one with the largest part keeps the record."""
    _replace_holds(
        "SELECT gpu_uuid, MIN(allocation_id), MIN(node_id), MIN(job_id), MIN(user_id) FROM earlier_holds "
        "GROUP BY gpu_uuid",
        parts=False,
    )
    op.drop_table("gpu_usage")
    op.drop_column("allocations", "preempted_for")
    op.drop_column("allocations", "gpu_milli")
    op.drop_index(op.f("ix_jobs_team"), table_name="jobs")
    op.drop_column("jobs", "team")
    op.drop_index(op.f("ix_users_team"), table_name="users")
    op.drop_column("users", "team")
    op.drop_table("teams")


def _replace_holds(select: str, *, parts: bool) -> None:
    """Make the table anew, because its primary key changes, and keep what is held."""
    for column in ("allocation_id", "node_id", "user_id"):
        op.drop_index(op.f(f"ix_gpu_holds_{column}"), table_name="gpu_holds")
    op.execute("CREATE TABLE earlier_holds AS SELECT * FROM gpu_holds")
    op.drop_table("gpu_holds")
    columns = ["gpu_uuid", "allocation_id", "node_id", "job_id", "user_id"]
    extra: list[sa.Column[str] | sa.Column[int]] = []
    if parts:
        columns += ["team", "parent_uuid", "milli"]
        extra = [
            sa.Column("team", sa.String(), nullable=False),
            sa.Column("parent_uuid", sa.String(), nullable=False),
            sa.Column("milli", sa.Integer(), nullable=False),
        ]
    keys = ("gpu_uuid", "allocation_id") if parts else ("gpu_uuid",)
    op.create_table(
        "gpu_holds",
        sa.Column("gpu_uuid", sa.String(), nullable=False),
        sa.Column("allocation_id", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        *extra,
        sa.ForeignKeyConstraint(["allocation_id"], ["allocations.id"]),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"]),
        sa.PrimaryKeyConstraint(*keys),
    )
    op.execute(f"INSERT INTO gpu_holds ({', '.join(columns)}) {select}")
    op.drop_table("earlier_holds")
    for column in ("allocation_id", "node_id", "user_id"):
        op.create_index(op.f(f"ix_gpu_holds_{column}"), "gpu_holds", [column], unique=False)
