"""What a transaction remembers and writes later is there for everybody who asks, and gone if it is undone."""

import contextlib
from datetime import datetime

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from control_plane.errors import Conflict
from control_plane.model.ids import ActionId
from control_plane.model.node import NodeState
from control_plane.model.record import Noun
from control_plane.store import audit, events, nodes, policy_sets
from control_plane.store.database import Store, Tx
from control_plane.store.health_tables import ConditionRow
from control_plane.store.rows import fresh
from control_plane.store.tables import EventRow, TraceRow
from control_plane.store.transaction import Inseparable
from tests.control_plane.world import World


def emitted(tx: Tx) -> int:
    return int(tx.session.execute(select(func.count()).select_from(EventRow)).scalar_one())


async def test_a_statement_sees_what_was_to_be_written_later(store: Store) -> None:
    def write(tx: Tx) -> tuple[int, int]:
        before = emitted(tx)
        tx.emit(Noun.NODE, "n-1", "node.ready", "")
        return before, emitted(tx)

    assert await store.write(write) == (0, 1)
    assert await store.newest_event() == store.changes.newest


async def test_what_is_undone_leaves_nothing_that_waits_nor_is_remembered(any_world: World) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> NodeState:
        nodes.load(tx, [node.id])
        audit.append(tx, agent_name="a", action="first", reasoning="", outcome="done")
        with contextlib.suppress(ValueError), tx.savepoint():
            nodes.update(tx, node.id, state=NodeState.CORDONED)
            audit.append(tx, agent_name="a", action="second", reasoning="", outcome="done")
            raise ValueError
        audit.append(tx, agent_name="a", action="third", reasoning="", outcome="done")
        return nodes.resolve(tx, node.id).state

    assert await any_world.store.write(write) is NodeState.READY
    records = await any_world.store.read(lambda tx: audit.ledger(tx, after_id=0, limit=100))
    assert [record.shown["action"] for record in records[-2:] if record.shown] == ["first", "third"]
    assert records[-1].previous_hash == records[-2].hash
    heard = await any_world.store.read(lambda tx: events.after(tx, 0))
    assert not [one for one in heard if one.kind == "node.cordoned"]


async def test_a_row_that_is_not_written_yet_is_found_by_its_key(any_world: World) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> bool:
        row = fresh(
            ConditionRow, {"node_id": node.id, "condition_id": "c", "severity": 1, "document": {}, "changed_at": tx.now}
        )
        tx.add(row, "c")
        tx.change(row, {"severity": 3, "gpu_uuid": ""})
        return tx.row(ConditionRow, "c") is row

    assert await any_world.store.write(write)

    def read(tx: Tx) -> list[tuple[int, str]]:
        return [(row.severity, row.gpu_uuid) for row in tx.session.execute(select(ConditionRow)).scalars()]

    assert await any_world.store.read(read) == [(3, "")]


def sick(node_id: str, at: datetime) -> ConditionRow:
    return fresh(
        ConditionRow, {"node_id": node_id, "condition_id": "c", "severity": 1, "document": {}, "changed_at": at}
    )


def severities(tx: Tx) -> list[int]:
    return [row.severity for row in tx.session.execute(select(ConditionRow)).scalars()]


@pytest.mark.parametrize("attached", [False, True])
async def test_a_row_may_change_and_end_before_it_is_written_and_afterwards(any_world: World, attached: bool) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> list[list[int]]:
        def look() -> list[int]:
            return severities(tx) if attached else [row.severity for row in [tx.row(ConditionRow, "c")] if row]

        row = sick(node.id, tx.now)
        tx.add(row, "c")
        tx.change(row, {"severity": 2})
        tx.settle()
        seen = [look()]
        tx.change(row, {"severity": 3})
        tx.settle()
        seen.append(look())
        tx.delete(row)
        seen.append(severities(tx))
        again = sick(node.id, tx.now)
        tx.add(again)
        tx.change(again, {"severity": 4})
        return [*seen, severities(tx)]

    assert await any_world.store.write(write) == [[2], [3], [], [4]]
    assert await any_world.store.read(severities) == [4]


async def test_a_row_takes_the_place_of_one_that_is_deleted_though_others_begin_too(any_world: World) -> None:
    node = await any_world.node("alpha")
    await any_world.store.write(lambda tx: tx.add(sick(node.id, tx.now)))

    def write(tx: Tx) -> None:
        tx.delete(tx.session.execute(select(ConditionRow)).scalars().one())
        row = sick(node.id, tx.now)
        tx.add(row)
        tx.change(row, {"document": {"a": 1}})
        tx.session.add(TraceRow(id="1", traceparent="", created_at=tx.now))
        tx.session.flush()

    await any_world.store.write(write)
    assert await any_world.store.read(lambda tx: tx.session.execute(select(ConditionRow)).scalars().one().document) == {
        "a": 1
    }


async def test_a_row_that_was_never_written_needs_no_deleting(any_world: World) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> None:
        row = sick(node.id, tx.now)
        tx.add(row)
        tx.delete(row)

    await any_world.store.write(write)
    assert await any_world.store.read(severities) == []


async def test_what_is_changed_behind_a_savepoint_and_undone_is_as_before(any_world: World) -> None:
    node = await any_world.node("alpha")
    await any_world.store.write(lambda tx: tx.add(sick(node.id, tx.now)))

    def write(tx: Tx) -> list[int]:
        row = tx.session.execute(select(ConditionRow)).scalars().one()
        with contextlib.suppress(ValueError), tx.savepoint():
            tx.change(row, {"severity": 2})
            tx.settle()
            tx.change(row, {"severity": 3})
            raise ValueError
        return [row.severity, *severities(tx)]

    assert await any_world.store.write(write) == [1, 1]
    assert await any_world.store.read(severities) == [1]


async def test_what_fails_together_is_said_to_be_inseparable_and_undone_as_a_whole(any_world: World) -> None:
    node = await any_world.node("alpha")

    def write(tx: Tx) -> None:
        with tx.together():
            nodes.update(tx, node.id, state=NodeState.CORDONED)
            with tx.savepoint():
                raise Conflict("somebody was faster")

    with pytest.raises(Inseparable, match="somebody was faster"):
        await any_world.store.write(write)
    assert (await any_world.node_now(node)).state is NodeState.READY


async def test_what_was_to_be_written_later_and_is_refused_undoes_all_though_nobody_takes_notice(store: Store) -> None:
    def write(tx: Tx) -> None:
        audit.append(tx, agent_name="a", action="first", reasoning="", outcome="done")
        tx.settle()
        policy_sets.record_input(tx, ActionId("a-none"), policy_version="", ruling="", input_json="{}")
        audit.append(tx, agent_name="a", action="second", reasoning="", outcome="done")
        with contextlib.suppress(IntegrityError), tx.savepoint():
            pass
        audit.append(tx, agent_name="a", action="third", reasoning="", outcome="done")

    with pytest.raises(Conflict):
        await store.write(write)
    assert await store.read(lambda tx: audit.ledger(tx, after_id=0, limit=100)) == ()


async def test_what_is_refused_behind_a_savepoint_undoes_no_more_than_that(store: Store) -> None:
    def write(tx: Tx) -> None:
        with contextlib.suppress(Conflict), tx.savepoint():
            audit.append(tx, agent_name="a", action="first", reasoning="", outcome="done")
            policy_sets.record_input(tx, ActionId("a-none"), policy_version="", ruling="", input_json="{}")
        audit.append(tx, agent_name="a", action="second", reasoning="", outcome="done")

    await store.write(write)
    records = await store.read(lambda tx: audit.ledger(tx, after_id=0, limit=100))
    assert [record.shown["action"] for record in records if record.shown] == ["second"]
