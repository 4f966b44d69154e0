"""The audit in the database: a chain that anybody can verify, whatever else happened to the store."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from control_plane.clock import SystemClock
from control_plane.model.ids import UserId
from control_plane.store import audit
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.engine import open_engine
from control_plane.store.pages import PageRequest
from orquanta.ledger.chain import GENESIS
from orquanta.ledger.checkpoint import Checkpoint
from orquanta.ledger.merkle import Frontier
from orquanta.ledger.signatures import Signer
from orquanta.ledger.verify import FaultKind, Verdict, Verifier
from tests.postgresql import PostgreSql

SIGNER = Signer(bytes(range(32)))


def record(tx: Tx, reasoning: str = "because", **more: Any) -> int:  # Any: fields of all types
    """Add a record."""
    fields: dict[str, Any] = {"agent_name": "ann@x", "action": "x.done", "outcome": "done", "user_id": "u1"} | more
    return audit.append(tx, reasoning=reasoning, **fields)


async def verify(store: Store, *checkpoints: Checkpoint) -> Verdict:
    """Verify all that the store holds."""
    verifier = Verifier(SIGNER.public_key, checkpoints)
    for one in await store.read(lambda tx: audit.ledger(tx, after_id=0, limit=1000)):
        verifier.feed(one)
    return verifier.finish()


async def checkpoint(store: Store) -> Checkpoint:
    """Sign what the store holds."""
    tree = Frontier()
    for one in await store.read(lambda tx: audit.hashes(tx, after_id=0, limit=1000)):
        tree.append(one)
    return SIGNER.sign(tree.size, tree.root(), datetime.now(UTC))


def meddle(store: Store, *statements: str) -> None:
    """Change the database as somebody would who owns its file and takes the triggers away."""
    drops = (
        [f"DROP TRIGGER audit_records_no_{verb}" for verb in ("update", "delete", "replace")]
        if store.dialect == "sqlite"
        else [f"DROP TRIGGER audit_records_no_{verb} ON audit_records" for verb in ("update", "delete")]
    )
    words = "DROP TRIGGER audit_words_no_update" + ("" if store.dialect == "sqlite" else " ON audit_words")
    with store._engine.begin() as connection:
        for statement in (*drops, words, *statements):
            connection.execute(text(statement))


async def fill(store: Store, count: int = 8) -> None:
    """Add records, one a transaction."""
    for number in range(1, count + 1):
        await store.write(lambda tx, number=number: record(tx, f"because {number}", payload={"number": number}))  # type: ignore[misc]


async def test_records_are_chained_without_gaps_whatever_is_rolled_back(store: Store) -> None:
    def half(tx: Tx) -> None:
        record(tx, "kept")
        with contextlib.suppress(ValueError), tx.savepoint():
            failing(tx)
        record(tx, "kept as well")

    def failing(tx: Tx) -> None:
        record(tx, "undone")
        raise ValueError("no")

    await store.write(half)
    with pytest.raises(ValueError, match="no"):
        await store.write(failing)
    await store.write(record)

    records = await store.read(lambda tx: audit.ledger(tx, after_id=0, limit=10))
    assert [one.id for one in records] == [1, 2, 3]
    assert records[0].previous_hash == GENESIS
    assert (await verify(store, await checkpoint(store))).intact


TAMPERINGS: list[tuple[str, FaultKind, int]] = [
    ("UPDATE audit_records SET outcome = 'denied' WHERE id = 3", FaultKind.EDIT, 3),
    ("UPDATE audit_records SET goal_id = 'g-x' WHERE id = 3", FaultKind.EDIT, 3),
    ("UPDATE audit_records SET canonical = replace(canonical, 'done', 'gone') WHERE id = 3", FaultKind.EDIT, 3),
    ("UPDATE audit_words SET document = replace(document, '3', '4') WHERE record_id = 3", FaultKind.EDIT, 3),
    ("UPDATE audit_words SET agent_name = 'bob@x' WHERE record_id = 3", FaultKind.EDIT, 3),
    ("UPDATE audit_words SET agent_name = '' WHERE record_id = 3", FaultKind.EDIT, 3),
    ("DELETE FROM audit_words WHERE record_id = 3", FaultKind.EDIT, 3),
    (
        "UPDATE audit_records SET canonical = (SELECT o.canonical FROM audit_records o WHERE o.id = 5) WHERE id = 4",
        FaultKind.EDIT,
        4,
    ),
]


@pytest.mark.parametrize(("statement", "kind", "at_id"), TAMPERINGS, ids=[str(n) for n in range(len(TAMPERINGS))])
async def test_tampering_with_the_database_is_found(store: Store, statement: str, kind: FaultKind, at_id: int) -> None:
    await fill(store)
    assert (await verify(store)).intact
    meddle(store, statement)

    verdict = await verify(store)

    assert verdict.fault is not None
    assert (verdict.fault.kind, verdict.fault.at_id) == (kind, at_id)


async def test_a_list_shows_what_was_hashed_whatever_the_columns_say(store: Store) -> None:
    await fill(store, 1)
    before = await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    meddle(store, "UPDATE audit_records SET outcome = 'denied', node_id = 'n-1', created_at = '2020-01-01 00:00:00'")

    assert await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest())) == before


@pytest.mark.parametrize("column", ["canonical", "document"])
async def test_a_record_that_was_made_unreadable_does_not_hide_the_others(store: Store, column: str) -> None:
    await fill(store, 3)
    table, key = ("audit_records", "id") if column == "canonical" else ("audit_words", "record_id")
    meddle(store, f"UPDATE {table} SET {column} = '[7' WHERE {key} = 2")

    page = await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))

    assert [one.action for one in page.items] == ["x.done", audit.UNREADABLE, "x.done"]
    assert not (await verify(store)).intact


async def test_a_deletion_and_a_truncation_are_found(store: Store) -> None:
    await fill(store)
    kept = await checkpoint(store)
    meddle(
        store,
        "DELETE FROM audit_words WHERE record_id IN (7, 8)",
        "DELETE FROM audit_records WHERE id IN (7, 8)",
    )
    assert (await verify(store)).intact  # without a checkpoint nobody could know
    fault = (await verify(store, kept)).fault
    assert fault is not None
    assert fault.kind is FaultKind.TRUNCATION

    with store._engine.begin() as connection:
        connection.execute(text("DELETE FROM audit_words WHERE record_id = 4"))
        connection.execute(text("DELETE FROM audit_records WHERE id = 4"))
    fault = (await verify(store, kept)).fault
    assert fault is not None
    assert (fault.kind, fault.at_id) == (FaultKind.DELETION, 4)


async def test_words_of_a_person_are_erased_for_good_and_the_log_still_verifies(store: Store) -> None:
    await fill(store, 3)
    await store.write(lambda tx: record(tx, "of somebody else", user_id="u2", agent_name="bob@x"))
    kept = await checkpoint(store)

    count = await store.write(
        lambda tx: audit.erase(tx, by="root@x", by_user_id="u9", reason="asked for it", user_id="u1")
    )

    assert count == 3
    assert (await verify(store, kept)).intact
    page = await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    assert [(one.agent_name, one.erased) for one in page.items] == [
        ("root@x", False), ("bob@x", False), ("", True), ("", True), ("", True)
    ]  # fmt: skip
    with store._engine.connect() as connection:
        dump = str(connection.execute(text("SELECT * FROM audit_records")).all())
        dump += str(connection.execute(text("SELECT * FROM audit_words")).all())
    assert "bob@x" in dump
    assert "ann@x" not in dump
    assert "because" not in dump


async def test_what_a_person_wrote_into_the_records_of_others_is_erased_too(store: Store) -> None:
    def write(tx: Tx) -> int:
        record(tx, "ann's request", user_id="u1", agent_name="ann@x")
        record(tx, "approved by bob", user_id="u1", agent_name="bob@x")
        audit.append_break(tx, agent_name="auditor", fault="cut off", size=1, root=b"r")
        audit.erase(tx, by="root@x", by_user_id="u9", reason="asked", record_id=3)
        return audit.erase(tx, by="root@x", by_user_id="u9", reason="asked", user_id="u2", email="bob@x")

    assert await store.write(write) == 1

    page = await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    assert [(one.agent_name, one.erased) for one in page.items] == [
        ("root@x", False), ("auditor", False), ("", True), ("ann@x", False)
    ]  # fmt: skip
    assert (await verify(store, await checkpoint(store))).intact


async def test_an_agents_name_stays_when_words_are_erased(store: Store) -> None:
    await store.write(lambda tx: record(tx, agent_name="scheduler_agent"))
    await store.write(lambda tx: audit.erase(tx, by="root@x", by_user_id="u9", reason="", record_id=1))

    page = await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    assert page.items[1].agent_name == "scheduler_agent"
    assert page.items[1].erased
    assert (await verify(store)).intact


async def test_secrets_in_words_are_hidden_before_they_are_written(store: Store) -> None:
    token = "hf_" + "aB3dE5gH7jK9mN1pQ3rS"
    payload = {"text": f"use {token}", "password": "correct horse", "hash": "ab" * 32, "size": 4}
    await store.write(lambda tx: record(tx, f"they said: export HF_TOKEN={token}", payload=payload))

    (one,) = (await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))).items
    assert token not in one.reasoning + one.payload_json
    assert json.loads(one.payload_json) == {
        "text": "use [hidden token]", "password": "[hidden value]", "hash": "ab" * 32, "size": 4
    }  # fmt: skip
    assert (await verify(store, await checkpoint(store))).intact


async def test_words_without_end_are_cut_and_text_that_is_no_unicode_is_taken(store: Store) -> None:
    def write(tx: Tx) -> None:
        record(tx, "so" * 1_000_000, payload={"text": "x y " * 1_000_000, "list": [{}] * 100_000})
        record(tx, "half \ud83d of a sign, and \x00", payload={"\ud800": "\udfff"})

    await store.write(write)

    second, first = (await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))).items
    assert len(first.payload_json) + len(first.reasoning) < audit.WORDS_CHARACTERS_MAX
    assert json.loads(first.payload_json)["characters"] > 4_000_000
    assert second.reasoning == "half ? of a sign, and \x00"
    assert (await verify(store, await checkpoint(store))).intact


async def test_erasing_nothing_records_nothing(store: Store) -> None:
    await fill(store, 1)
    assert await store.write(lambda tx: audit.erase(tx, by="r@x", by_user_id="u9", reason="", user_id="u7")) == 0
    assert len(await store.read(lambda tx: audit.ledger(tx, after_id=0, limit=10))) == 1


SEARCHES: list[tuple[AuditFilter, list[int]]] = [
    (AuditFilter(text="cuda out"), [1]),
    (AuditFilter(text='say "hi"'), [2]),
    (AuditFilter(text="100%"), [3]),
    (AuditFilter(text="node_cordon"), [4]),
    (AuditFilter(text="nodeXcordon"), []),
    (AuditFilter(agent_name="bob@x"), [2]),
    (AuditFilter(run_id="run-1"), [3]),
    (AuditFilter(user_id=UserId("u2")), [2]),
]


@pytest.mark.parametrize(("which", "expected"), SEARCHES, ids=[str(n) for n in range(len(SEARCHES))])
async def test_search_finds_words_people_and_runs(store: Store, which: AuditFilter, expected: list[int]) -> None:
    def write(tx: Tx) -> None:
        record(tx, "CUDA out of memory")
        record(tx, 'they say "hi"', agent_name="bob@x", user_id="u2")
        record(tx, "at 100% of it", run_id="run-1")
        record(tx, action="node_cordon.done")

    await store.write(write)

    page = await store.read(lambda tx: audit.page(tx, which, PageRequest()))
    assert [one.id for one in page.items] == expected


async def test_words_cannot_be_changed_and_checkpoints_neither(store: Store) -> None:
    await fill(store, 1)
    with store._engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text("UPDATE audit_words SET document = '{}'"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server: PostgreSql = request.getfixturevalue("postgresql")
    with server.database("template0") as url:
        yield url


async def test_records_of_an_older_schema_are_chained(empty_url: str) -> None:
    url = empty_url
    engine = open_engine(url)
    config = Config()
    config.set_main_option("script_location", "control_plane/store/migrations")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003_approvals")
        connection.commit()
        old = sa.Table("audit_log", sa.MetaData(), autoload_with=connection)
        now = datetime(2026, 1, 2, 3, 4, 5, 678901) if engine.dialect.name == "sqlite" else datetime.now(UTC)  # noqa: DTZ001 - as SQLite keeps it
        for number in (3, 5):
            connection.execute(
                old.insert().values(
                    id=number, agent_name="ann@x", action="goal.submitted", reasoning="why", payload={"text": "töxt"},
                    outcome="done", cost_impact=7, action_id="", goal_id="g-1", job_id="", node_id="", user_id="u1",
                    created_at=now,
                )
            )  # fmt: skip
        connection.commit()
    engine.dispose()

    store = await Store.open(url, clock=SystemClock())
    try:
        await store.write(record)
        assert (await verify(store, await checkpoint(store))).intact
        page = await store.read(lambda tx: audit.page(tx, AuditFilter(goal_id="g-1"), PageRequest()))
        assert [one.id for one in page.items] == [2, 1]
        assert page.items[0].payload_json == '{"text": "t\\u00f6xt"}'
        assert page.items[0].agent_name == "ann@x"
    finally:
        await store.close()
