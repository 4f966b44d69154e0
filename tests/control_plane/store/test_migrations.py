from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from control_plane.store.approval_tables import metadata
from control_plane.store.database import Store
from control_plane.store.diagnosis_tables import DiagnosisRow
from control_plane.store.memory_tables import MemoryCursorRow
from control_plane.store.policy_tables import PolicySetRow
from control_plane.store.run_tables import RunRow
from control_plane.store.usage_tables import ModelUsageRow


async def test_the_migrations_make_exactly_the_tables_that_the_code_uses(store: Store) -> None:
    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        rows = (RunRow, ModelUsageRow, PolicySetRow, MemoryCursorRow, DiagnosisRow)
        assert all(row.metadata is metadata for row in rows)
        assert compare_metadata(context, metadata) == []
