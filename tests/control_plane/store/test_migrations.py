import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event

from control_plane.store import engine as opening
from control_plane.store.approval_tables import metadata
from control_plane.store.database import Store
from control_plane.store.diagnosis_tables import DiagnosisRow
from control_plane.store.engine import migrate, open_engine
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


def test_who_looks_at_a_file_while_another_one_migrates_it_finds_all_tables_or_none(tmp_path: Path) -> None:
    path, found = tmp_path / "orquanta.db", set[int]()

    def look(_: object) -> None:
        with sqlite3.connect(path) as other:
            found.add(int(other.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]))
        other.close()

    engine = open_engine(f"sqlite:///{path}")
    event.listen(engine, "begin", look)
    migrate(engine)
    engine.dispose()
    assert found == {0}
    look(None)
    assert len(found) == 2


def test_who_opens_a_file_that_another_one_has_just_begun_waits_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pauses = tmp_path / "orquanta.db", list[float]()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE begun (number INTEGER)")

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            other.execute("COMMIT")

        monkeypatch.setattr(opening, "time", SimpleNamespace(sleep=pause))
        engine = open_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        engine.dispose()
    assert len(pauses) == 1
