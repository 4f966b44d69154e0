"""What is known of one host and cannot be read is that host's trouble: every other one is served."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from control_plane.governor import incidents
from control_plane.model.ids import NodeId
from control_plane.model.job import JobState
from control_plane.model.record import Noun
from control_plane.store import conditions, gpu_briefs, nodes
from control_plane.store.database import Tx
from control_plane.store.health_tables import RepairRow
from control_plane.store.rows import fresh
from orquanta.v1 import job_pb2
from tests.control_plane.services.node_link.health_rig import condition
from tests.control_plane.services.node_link.hosts import report
from tests.control_plane.services.node_link.rig import Rig, running

_BROKEN = ["'{\"gpus\": 7}'", "'{\"gpus\": ['"]
NOW = datetime(2026, 5, 4, tzinfo=UTC)
_IDS = ["of a later version", "cut off"]


def _break(tx: Tx, table: str, column: str, broken: str, where: str) -> None:
    """Put something into a column behind everybody's back."""
    tx.session.execute(text(f"UPDATE {table} SET {column} = {broken} WHERE {where}"))


def _stir(tx: Tx, *node_ids: NodeId) -> None:
    for node_id in node_ids:
        tx.emit(Noun.NODE, node_id, conditions.ORDERED, "", parent_id=node_id)


@pytest.mark.parametrize("broken", _BROKEN, ids=_IDS)
async def test_what_a_linked_host_is_made_of_is_written_anew_if_it_cannot_be_read(rig: Rig, broken: str) -> None:
    one, other = await rig.join("a"), await rig.join("b")
    async with one.connect(), other.connect() as link:
        await rig.until_node(one.node_id, lambda node: node.inventory is not None)

        def spoil(tx: Tx) -> None:
            _break(tx, "nodes", "inventory", broken, f"id = '{one.node_id}'")

        await rig.store.write(spoil)
        assert (await rig.node(one.node_id)).unread
        await rig.store.write(lambda tx: _stir(tx, one.node_id, other.node_id))
        node = await rig.until_node(one.node_id, lambda node: node.inventory is not None)
        assert not node.unread
        await rig.place(await rig.launch(1), (other, ["GPU-b-0"]))
        assert await link.desired(1)


async def test_a_control_plane_starts_and_serves_though_one_host_cannot_be_read(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        one, other = await rig.join("a"), await rig.join("b")
        async with one.connect(), other.connect():
            await rig.until_node(one.node_id, lambda node: node.inventory is not None)
            await rig.until_node(other.node_id, lambda node: node.inventory is not None)
        half = '\'{"gpus": [{"uuid": "GPU-a-0"}, 7]}\''
        await rig.store.write(lambda tx: _break(tx, "nodes", "inventory", half, f"id = '{one.node_id}'"))
    async with running(tmp_path) as again:
        other.rig = one.rig = again
        async with other.connect(uuids=["GPU-b-0", "GPU-a-0"]):
            node = await again.until_node(other.node_id, lambda node: node.connected)
            # What can be read of a host keeps its GPUs from being passed off as another one's.
            assert node.inventory is not None
            assert [gpu.uuid for gpu in node.inventory.gpus] == ["GPU-b-0"]
        async with one.connect():
            await again.until_node(one.node_id, lambda node: node.inventory is not None)


async def test_a_host_whose_job_cannot_be_read_keeps_what_it_was_told_and_the_others_are_told(rig: Rig) -> None:
    one, other = await rig.join("a"), await rig.join("b")
    async with one.connect() as first, other.connect() as second:
        job_id = await rig.launch(1)
        await rig.place(job_id, (one, ["GPU-a-0"]))
        assert await first.desired(1)
        next_id = await rig.launch(1)
        await rig.store.write(lambda tx: _break(tx, "jobs", "spec", "'{\"command\": 7}'", f"id = '{job_id}'"))
        await rig.store.write(lambda tx: _stir(tx, one.node_id, other.node_id))
        await rig.place(next_id, (other, ["GPU-b-0"]))
        assert await second.desired(1)
        assert await rig.store.read(gpu_briefs.uuids) == {
            one.node_id: ("GPU-a-0", "GPU-a-1"),
            other.node_id: ("GPU-b-0", "GPU-b-1"),
        }
        await first.heartbeat(1)
        await first.next("heartbeat_ack")
        told = [response.WhichOneof("message") for response in first.received]
        assert told[-1] == "heartbeat_ack"
        assert not first.received[-2].disconnect.reason


async def test_one_job_that_cannot_be_read_does_not_keep_its_host_from_linking(rig: Rig) -> None:
    one = await rig.join("a")
    async with one.connect() as first:
        broken_id, other_id = await rig.launch(1), await rig.launch(1)
        broken = await rig.place(broken_id, (one, ["GPU-a-0"]))
        other = await rig.place(other_id, (one, ["GPU-a-1"]))
        assert await first.desired(2)
    await rig.store.write(lambda tx: _break(tx, "jobs", "spec", "'{\"command\": 7}'", f"id = '{broken_id}'"))
    ended = report(broken, state=job_pb2.ALLOCATION_STATE_ENDED)
    async with one.connect(members=[ended, report(other)]) as again:
        await rig.until_job(other_id, lambda job: job.state is JobState.RUNNING)
        await again.heartbeat(1)
        await again.next("heartbeat_ack")
    async with one.connect(members=[report(broken), report(other)]) as again:
        await again.heartbeat(1)
        await again.next("heartbeat_ack")


async def test_conditions_that_cannot_be_read_are_put_anew_or_are_over_once_their_host_says_how_it_is(rig: Rig) -> None:
    one = await rig.join("a")
    hello = one.hello()
    hello.conditions.extend([condition(rig, one, "gpu/xid-79"), condition(rig, one, "gpu/xid-48")])
    async with one.dial() as first:
        await first.send(hello=hello)
        await first.next("welcome")
    await rig.store.write(lambda tx: _break(tx, "node_conditions", "document", '\'{"kind": "later"}\'', "true"))
    del hello.conditions[1]
    async with one.dial() as again:
        await again.send(hello=hello)
        await again.next("welcome")
    found = await rig.store.read(lambda tx: conditions.of_node(tx, one.node_id))
    assert [(each.id, each.summary) for each in found] == [("gpu/xid-79", "fell off the bus")]


async def test_an_incident_that_cannot_be_read_does_not_keep_its_host_from_being_heard(rig: Rig) -> None:
    one = await rig.join("a")
    hello = one.hello()
    hello.conditions.append(condition(rig, one, "gpu/xid-79"))

    def open_one(tx: Tx) -> None:
        node = nodes.get(tx, one.node_id)
        assert node is not None
        incidents.open_incident(tx, node, conditions.of_node(tx, one.node_id), why="broken")
        _break(tx, "incidents", "conditions", '\'[{"kind": "later"}]\'', "true")

    async with one.dial() as first:
        await first.send(hello=hello)
        await first.next("welcome")
        await rig.store.write(open_one)
    hello.conditions[0].id = "gpu/xid-48"
    async with one.dial() as again:
        await again.send(hello=hello)
        await again.next("welcome")
        await again.heartbeat(1)
        await again.next("heartbeat_ack")
    assert [each.id for each in await rig.store.read(lambda tx: conditions.of_node(tx, one.node_id))] == ["gpu/xid-48"]


async def test_a_repair_that_cannot_be_read_does_not_keep_its_host_from_linking(rig: Rig) -> None:
    one = await rig.join("a")
    values = {"origin": "control_plane", "rung": 1, "state": "of a later version", "reason": "", "ordered_at": NOW}
    empty = ("gpu_uuids", "process_ids", "condition_ids", "steps", "checks")
    lists: dict[str, list[str]] = {column: [] for column in empty}

    def put(tx: Tx) -> None:
        tx.add(fresh(RepairRow, {"id": "rep-1", "node_id": one.node_id, "sent_at": NOW, **values, **lists}))

    await rig.store.write(put)
    async with one.connect() as stream:
        await stream.heartbeat(1)
        await stream.next("heartbeat_ack")
    assert (await rig.node(one.node_id)).inventory is not None
