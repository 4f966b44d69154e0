"""What the spool holds reaches the books exactly once, over real streams that break."""

import asyncio
import random
from pathlib import Path

from node_agent.link.identity import IdentityStore
from orquanta.v1 import health_pb2, repair_pb2
from tests.node_agent.link.conftest import Join
from tests.node_agent.link.scripted import ScriptedHost, linked, spooling
from tests.node_agent.plane import Plane
from tests.node_agent.spool.writer import event


def ids(plane: Plane) -> list[str]:
    return [found.id for found in plane.health_events]


async def test_hello_says_what_is_wrong_what_is_repaired_and_which_spool_and_policy_the_host_has(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    host = ScriptedHost(
        present=[health_pb2.Condition(id="gpu/GPU-1/xid-79", severity=health_pb2.CONDITION_SEVERITY_FATAL)],
        repair=repair_pb2.RepairReport(repair_id="r-1"),
    )
    async with spooling(tmp_path / "spool") as spool, linked(joined, store, tmp_path, host=host, spool=spool):
        hello = (await plane.up()).hello
        assert hello is not None
        assert [condition.id for condition in hello.conditions] == ["gpu/GPU-1/xid-79"]
        assert (hello.repair.repair_id, hello.policy_version) == ("r-1", 7)
        assert hello.spool_id == spool.spool_id


async def test_an_event_is_sent_at_once_and_forgotten_once_it_is_in_the_books(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with spooling(tmp_path / "spool") as spool, linked(joined, store, tmp_path, spool=spool):
        await plane.up()
        await spool.append(event("a"))
        await plane.wait_for(lambda: ids(plane) == ["a"])
        await spool.append(event("b"), event("c"))
        await plane.wait_for(lambda: ids(plane) == ["a", "b", "c"])
        async with asyncio.timeout(30):
            while spool.acknowledged < 3:  # noqa: ASYNC110 - the acknowledgement is on its way
                await asyncio.sleep(0.01)


async def test_everything_enters_the_books_once_and_in_order_however_often_the_stream_breaks(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    chance = random.Random(20260502)
    rounds, each = 6, 300
    async with spooling(tmp_path / "spool") as spool, linked(joined, store, tmp_path, spool=spool):
        await plane.up()
        for start in range(0, rounds * each, each):
            streams = len(plane.streams)
            cut_at = start + chance.randrange(each)
            plane.acknowledge_spool = chance.random() < 0.5  # or the books have it, and the host never hears so
            for number in range(start, start + each, 10):
                await spool.append(*[event(str(number + offset)) for offset in range(10)])
                if number <= cut_at < number + 10:
                    await _break(plane, by_force=chance.random() < 0.3)
            plane.acknowledge_spool = True
            await plane.up(streams=streams + 1)
        await plane.wait_for(lambda: len(plane.books) >= rounds * each)
        assert ids(plane) == [str(number) for number in range(rounds * each)]
        assert [record.sequence for record in plane.books] == list(range(1, rounds * each + 1))
    sent = sum(len(batch.records) for stream in plane.streams for batch in stream.batches)
    assert sent > rounds * each  # some were sent twice


async def _break(plane: Plane, *, by_force: bool) -> None:
    if by_force:
        await plane.stop_link()
        await plane.start_link()
    else:
        plane.stream.cut()


async def test_a_long_outage_is_sent_in_batches_within_the_bounds_and_few_at_a_time(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.acknowledge_spool = False
    async with spooling(tmp_path / "spool") as spool:
        await spool.append(*[event(str(number)) for number in range(3500)])
        async with linked(joined, store, tmp_path, spool=spool):
            stream = await plane.up()
            await plane.wait_for(lambda: len(stream.batches) == 4)
            beats = len(stream.heartbeats)
            await plane.wait_for(lambda: len(stream.heartbeats) > beats + 3)
            assert [len(batch.records) for batch in stream.batches] == [500] * 4
            plane.acknowledge_spool = True
            stream.cut()
            await plane.wait_for(lambda: len(plane.books) == 3500)
    assert ids(plane) == [str(number) for number in range(3500)]


async def test_a_host_whose_state_is_older_than_the_books_loses_no_event(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with spooling(tmp_path / "spool") as spool:
        plane.spool_positions[spool.spool_id] = 100
        await spool.append(event("a"))
        async with linked(joined, store, tmp_path, spool=spool):
            await plane.up()
            await spool.append(event("b"))
            await plane.wait_for(lambda: ids(plane) == ["a", "b"])
    assert len(plane.spool_positions) == 2


async def test_a_repair_that_moves_on_is_told_at_once(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with linked(joined, store, tmp_path) as (link, _):
        stream = await plane.up()
        link.repair_changed(repair_pb2.RepairReport(repair_id="r-1", state=repair_pb2.REPAIR_STATE_RUNNING))
        await plane.wait_for(lambda: stream.repairs)
    assert stream.repairs[0].repair_id == "r-1"


async def test_a_repair_order_is_heeded_even_while_jobs_take_long_to_start(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    host = ScriptedHost(hold=asyncio.Event())
    async with linked(joined, store, tmp_path, host=host):
        stream = await plane.up()
        await host.wait_for(lambda: host.orders)
        stream.order(revision=2, repair=repair_pb2.RepairOrder(id="r-7"))
        await host.wait_for(lambda: any(order.repair.id == "r-7" for order in host.heeded))
        assert len(host.orders) == 1
        assert host.hold is not None
        host.hold.set()


async def test_a_repair_order_of_an_older_control_plane_is_not_heeded(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with linked(joined, store, tmp_path) as (_, host):
        stream = await plane.up()
        stream.order(revision=2, epoch=4, repair=repair_pb2.RepairOrder(id="r-old"))
        stream.order(revision=3, epoch=5, repair=repair_pb2.RepairOrder(id="r-new"))
        await host.wait_for(lambda: any(order.repair.id == "r-new" for order in host.heeded))
        assert not any(order.repair.id == "r-old" for order in host.heeded)
