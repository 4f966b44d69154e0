"""Reports by the hundred, while the store is away, and hosts that read slowly."""

import asyncio
from collections.abc import Callable

import pytest

from control_plane.errors import Unavailable
from control_plane.governor import books
from control_plane.model.job import JobState
from control_plane.model.node import NodeState
from control_plane.services.link_outbox import Outbox
from control_plane.store.database import Tx
from orquanta.v1 import job_pb2, node_link_pb2
from tests.control_plane.services.node_link.hosts import report
from tests.control_plane.services.node_link.rig import Rig

ENDED = job_pb2.ALLOCATION_STATE_ENDED


async def test_five_hundred_reports_at_once_all_come_into_the_books(rig: Rig) -> None:
    host = await rig.join("gpu-1", gpus=50)
    async with host.connect() as stream:
        placed = []
        for uuid in host.uuids():
            job_id = await rig.launch(1)
            placed.append(await rig.place(job_id, (host, [uuid])))
        for _ in range(9):
            for allocation in placed:
                await stream.send(member_report=report(allocation, gpu_seconds=0.1))
        for allocation in placed:
            await stream.send(member_report=report(allocation, state=ENDED))
        acknowledged: set[str] = set()
        while len(acknowledged) < len(placed):
            acknowledged.add((await stream.next("member_report_ack")).member_report_ack.allocation_id)
        await stream.heartbeat(1)
        await stream.next("heartbeat_ack")
    for allocation in placed:
        assert (await rig.job(allocation.job_id)).state is JobState.SUCCEEDED


async def test_heartbeats_are_acknowledged_while_the_store_is_away_and_reports_follow_when_it_is_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        job_id = await rig.launch(1)
        allocation = await rig.place(job_id, (host, host.uuids()[:1]))
        await stream.desired(1)
        tried = asyncio.Event()

        async def away(function: Callable[[Tx], object]) -> object:
            tried.set()
            raise Unavailable("the disk is full", reason="STORE_UNAVAILABLE")

        with monkeypatch.context() as patch:
            patch.setattr(rig.store, "write", away)
            await stream.send(member_report=report(allocation, state=ENDED))
            async with asyncio.timeout(30):
                await tried.wait()
            await stream.heartbeat(1)
            await stream.next("heartbeat_ack")
            assert not [one for one in stream.received if one.WhichOneof("message") == "member_report_ack"]
        await stream.next("member_report_ack")
        assert (await rig.job(job_id)).state is JobState.SUCCEEDED


async def test_one_report_that_the_books_cannot_take_does_not_hold_up_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        first, second = [await rig.place(await rig.launch(1), (host, [uuid])) for uuid in host.uuids()]
        apply = books.apply_report

        def fragile(tx: Tx, node_id: object, told: object) -> object:
            if getattr(told, "allocation_id", "") == first.id:
                raise RuntimeError("a bug")
            return apply(tx, node_id, told)  # type: ignore[arg-type]  # passed on as they came

        monkeypatch.setattr(books, "apply_report", fragile)
        await stream.send(member_report=report(first, state=ENDED))
        await stream.send(member_report=report(second, state=ENDED))
        ack = (await stream.next("member_report_ack")).member_report_ack
        assert ack.allocation_id == second.id
        assert (await rig.job(first.job_id)).state is JobState.PLACED
    async with host.connect(members=[report(first, state=ENDED), report(second, state=ENDED)]) as stream:
        ack = (await stream.next("member_report_ack")).member_report_ack
        assert ack.allocation_id == second.id
        assert (await rig.node(host.node_id)).state is NodeState.READY


def test_for_a_slow_host_only_the_newest_of_each_thing_waits() -> None:
    outbox = Outbox()
    for number in range(10_000):
        outbox.put_heartbeat_ack(number)
        outbox.put_desired(node_link_pb2.DesiredState(revision=number))
        outbox.put_report_ack(f"a-{number % 8000}", 0)
    outbox.end(node_link_pb2.Disconnect(reason="bye"))
    outbox.end(node_link_pb2.Disconnect(reason="too late"))
    said = outbox.take()
    assert said[0].heartbeat_ack.sequence == 9999
    assert said[1].desired_state.revision == 9999
    assert len(said) == 2 + 4096 + 1
    assert said[-1].disconnect.reason == "bye"
    assert outbox.take() == []
