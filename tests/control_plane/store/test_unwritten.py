"""A transaction's waiting writes keep the order that the database asks for, and none of them is lost."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

import pytest
from sqlalchemy import delete, select

from control_plane.errors import Unavailable
from control_plane.store import spools
from control_plane.store.database import Tx
from control_plane.store.health_tables import ConditionRow, IncidentRow, RepairRow
from control_plane.store.rows import fresh
from control_plane.store.tables import TraceRow
from tests.control_plane.world import World

T = TypeVar("T")


def sick(node_id: str, at: datetime, severity: int = 1) -> ConditionRow:
    values = {"node_id": node_id, "condition_id": "c", "severity": severity, "document": {}, "changed_at": at}
    return fresh(ConditionRow, values)


def trouble(node_id: str, at: datetime) -> IncidentRow:
    return fresh(
        IncidentRow,
        {
            "id": "inc",
            "node_id": node_id,
            "node_name": "alpha",
            "state": "open",
            "summary": "",
            "diagnosis": "",
            "conditions": [],
            "active_ids": [],
            "gpu_uuids": [],
            "observed_at": at,
            "created_at": at,
            "version": 1,
        },
    )


def mend(node_id: str, at: datetime, incident_id: str | None = None) -> RepairRow:
    return fresh(
        RepairRow,
        {
            "id": "rep",
            "node_id": node_id,
            "incident_id": incident_id,
            "origin": "x",
            "rung": 1,
            "state": "sent",
            "reason": "",
            "gpu_uuids": [],
            "process_ids": [],
            "condition_ids": [],
            "steps": [],
            "checks": [],
            "ordered_at": at,
        },
    )


def severities(tx: Tx) -> list[int]:
    return [row.severity for row in tx.session.execute(select(ConditionRow)).scalars()]


async def test_a_row_may_come_to_refer_to_one_that_begins(any_world: World) -> None:
    node = await any_world.node("alpha")
    await any_world.store.write(lambda tx: tx.add(mend(node.id, tx.now)))

    def write(tx: Tx) -> None:
        row = tx.session.execute(select(RepairRow)).scalars().one()
        tx.add(trouble(node.id, tx.now))
        tx.change(row, {"incident_id": "inc"})

    await any_world.store.write(write)
    found = await any_world.store.read(lambda tx: tx.session.execute(select(RepairRow)).scalars().one().incident_id)
    assert found == "inc"


@pytest.mark.parametrize("repair_first", [False, True])
async def test_rows_that_begin_are_written_behind_what_they_refer_to_though_the_session_writes(
    any_world: World, repair_first: bool
) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> None:
        both = [trouble(node.id, tx.now), mend(node.id, tx.now, "inc")]
        for row in reversed(both) if repair_first else both:
            tx.add(row)
        tx.session.add(TraceRow(id="1", traceparent="", created_at=tx.now))
        tx.session.flush()

    await any_world.store.write(write)


async def test_a_row_begun_before_a_savepoint_is_as_it_was_then(any_world: World) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> int:
        row = sick(node.id, tx.now)
        tx.add(row)
        with contextlib.suppress(ValueError), tx.savepoint():
            tx.change(row, {"severity": 2})
            raise ValueError
        seen = row.severity
        tx.change(row, {"severity": 2})
        return seen

    assert await any_world.store.write(write) == 1
    assert await any_world.store.read(severities) == [2]


async def test_a_row_that_was_undone_changes_without_being_read_again(any_world: World) -> None:
    node = await any_world.node("alpha")
    await any_world.store.write(lambda tx: tx.add(sick(node.id, tx.now)))

    def write(tx: Tx) -> None:
        row = tx.session.execute(select(ConditionRow)).scalars().one()
        with contextlib.suppress(ValueError), tx.savepoint():
            raise ValueError
        tx.change(row, {"severity": 2})

    await any_world.store.write(write)
    assert await any_world.store.read(severities) == [2]


async def test_a_row_begins_again_after_it_was_undone(any_world: World) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> list[int]:
        undone = sick(node.id, tx.now)
        with contextlib.suppress(ValueError), tx.savepoint():
            tx.add(undone)
            severities(tx)
            raise ValueError
        tx.add(sick(node.id, tx.now, 2))
        return severities(tx)

    assert await any_world.store.write(write) == [2]


async def test_a_row_begins_though_another_write_of_the_same_commit_began_it_and_failed(any_world: World) -> None:
    node = await any_world.node("alpha")

    def failing(tx: Tx) -> None:
        row = sick(node.id, tx.now)
        tx.add(row)
        severities(tx)
        raise ValueError

    def going_well(tx: Tx) -> list[int]:
        tx.add(sick(node.id, tx.now, 2))
        return severities(tx)

    answers = await in_one_commit(any_world, failing, going_well)
    assert isinstance(answers[0], ValueError)
    assert answers[1] == [2]


async def in_one_commit(world: World, *writes: Callable[[Tx], object]) -> list[object]:
    """Queue writes behind one that is held up until all of them wait."""
    started, queued = threading.Event(), threading.Event()

    def hold_up(_tx: Tx) -> None:
        started.set()
        queued.wait(10)

    held = asyncio.ensure_future(world.store.write(hold_up))
    await asyncio.to_thread(started.wait, 10)
    others = [asyncio.ensure_future(world.store.write(write)) for write in writes]
    await asyncio.sleep(0)
    queued.set()
    await held
    return list(await asyncio.gather(*others, return_exceptions=True))


async def test_a_change_of_a_row_that_is_gone_is_refused(any_world: World) -> None:
    node = await any_world.node("alpha")
    await any_world.store.write(lambda tx: tx.add(sick(node.id, tx.now)))

    def write(tx: Tx) -> None:
        row = tx.session.execute(select(ConditionRow)).scalars().one()
        tx.session.connection().execute(delete(ConditionRow))
        tx.change(row, {"severity": 2})

    with pytest.raises(Unavailable):
        await any_world.store.write(write)
    assert await any_world.store.read(severities) == [1]


async def test_a_row_that_was_written_cannot_be_assigned_to(any_world: World) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> None:
        row = sick(node.id, tx.now)
        tx.add(row)
        tx.settle()
        row.severity = 2

    with pytest.raises(TypeError, match=r"Tx\.change"):
        await any_world.store.write(write)


async def test_a_spool_that_was_given_up_begins_again_in_the_same_transaction(any_world: World) -> None:
    node = await any_world.node("alpha")
    for number in range(8):
        await any_world.store.write(partial(spools.advance, node_id=node.id, spool_id=f"s{number}", sequence=5))

    def write(tx: Tx) -> int:
        oldest = spools.of_node(tx, node.id)[-1].spool_id
        spools.advance(tx, node.id, "new", 1)
        spools.advance(tx, node.id, oldest, 7)
        return spools.position(tx, node.id, oldest)

    assert await any_world.store.write(write) == 7
    spool = await any_world.store.read(lambda tx: spools.of_node(tx, node.id))
    assert 7 in [one.sequence for one in spool]
