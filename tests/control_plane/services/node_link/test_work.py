"""Work over the link: what hosts are told to run, and what the books make of what they say."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from datetime import timedelta

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.errors import InvalidArgument, OrQuantaError, Unavailable
from control_plane.governor import books, hosts
from control_plane.model.action import ActionState, PlaceJob, Placement, Proposal, RequeueJob, StopJob
from control_plane.model.ids import ACTION, ALLOCATION, JOB, new_id
from control_plane.model.job import AllocationState, ExitReason, JobState
from control_plane.model.node import NodeState
from control_plane.services.link_outbox import Outbox
from control_plane.services.link_wire import read_inventory, read_report
from control_plane.store import gpu_holds
from control_plane.store.database import Tx
from orquanta.v1 import job_pb2, node_link_pb2, node_pb2
from tests.control_plane.services.node_link.rig import MovableClock, Rig, report, stamp

RUNNING = job_pb2.ALLOCATION_STATE_RUNNING
ENDED = job_pb2.ALLOCATION_STATE_ENDED


async def test_a_placed_job_is_pushed_runs_and_ends_in_the_books(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        job_id = await rig.launch(
            2, command="python train.py", environment=(("A", "1"),), max_runtime_seconds=60, stop_grace_seconds=7
        )
        allocation = await rig.place(job_id, (host, host.uuids()))
        (wanted,) = await stream.desired(1)
        assert (wanted.allocation_id, wanted.job_id, wanted.epoch) == (allocation.id, job_id, 1)
        assert (wanted.rank, wanted.world_size, list(wanted.gpu_uuids)) == (0, 1, host.uuids())
        assert wanted.command == "python train.py"
        assert wanted.environment.keys() == {"A", "TRACEPARENT"}
        assert wanted.environment["A"] == "1"
        assert wanted.max_runtime.ToTimedelta() == timedelta(seconds=60)
        assert wanted.stop_grace.ToTimedelta() == timedelta(seconds=7)
        await stream.send(member_report=report(allocation))
        await rig.until_job(job_id, lambda job: job.state is JobState.RUNNING)
        await stream.send(member_report=report(allocation, state=ENDED, gpu_seconds=0.5))
        ack = (await stream.next("member_report_ack")).member_report_ack
        assert (ack.allocation_id, ack.rank) == (allocation.id, 0)
        job = await rig.job(job_id)
        assert (job.state, job.exit_code) == (JobState.SUCCEEDED, 0)
        await stream.desired(0)
        assert await rig.store.read(gpu_holds.holds) == {}


async def test_the_same_end_told_twice_is_acknowledged_twice_and_counted_once(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        job_id = await rig.launch(1)
        allocation = await rig.place(job_id, (host, host.uuids()[:1]))
        for _ in range(2):
            await stream.send(member_report=report(allocation, state=ENDED, gpu_seconds=0.5))
            await stream.next("member_report_ack")
        job = await rig.job(job_id)
        assert job.allocations[0].gpu_seconds == 0.5
    cost = job.cost_usd
    async with host.connect(members=[report(allocation, state=ENDED, gpu_seconds=0.9)]) as stream:
        await stream.next("member_report_ack")
    assert (await rig.job(job_id)).cost_usd == cost


async def test_a_gang_over_two_hosts_is_told_where_to_meet(rig: Rig) -> None:
    one, two = await rig.join("gpu-1"), await rig.join("gpu-2")
    async with one.connect() as first, two.connect() as second:
        job_id = await rig.launch(4)
        allocation = await rig.place(job_id, (one, one.uuids()), (two, two.uuids()))
        (head,) = await first.desired(1)
        (tail,) = await second.desired(1)
        assert (head.rank, tail.rank, head.world_size, tail.world_size) == (0, 1, 2, 2)
        assert head.master_address == tail.master_address == "10.0.0.1"
        assert head.master_port == tail.master_port > 0
        await first.send(member_report=report(allocation, 0))
        await second.send(member_report=report(allocation, 1))
        await rig.until_job(job_id, lambda job: job.state is JobState.RUNNING)
        # One that fails takes the other along.
        await first.send(member_report=report(allocation, 0, ENDED, exit_code=3))
        await second.desired(0)
        await second.send(
            member_report=report(allocation, 1, ENDED, exit_reason=job_pb2.EXIT_REASON_STOPPED, signal=15)
        )
        job = await rig.until_job(job_id, lambda job: job.state.ended)
        assert (job.state, job.exit_code) == (JobState.FAILED, 3)
        assert job.allocations[0].members[1].exit_reason is ExitReason.GANG_STOPPED


async def test_a_stopped_job_disappears_from_the_desired_state_and_keeps_its_gpus_until_it_has_ended(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        job_id = await rig.launch(2)
        allocation = await rig.place(job_id, (host, host.uuids()))
        await stream.desired(1)
        await rig.propose(StopJob(job_id, "enough"))
        await stream.desired(0)
        assert len(await rig.store.read(gpu_holds.holds)) == 2
        await stream.send(member_report=report(allocation, 0, ENDED, exit_reason=job_pb2.EXIT_REASON_STOPPED))
        job = await rig.until_job(job_id, lambda job: job.state.ended)
        assert job.state is JobState.CANCELLED


async def test_a_job_that_is_cancelled_before_its_host_hears_of_it_ends_and_frees_its_gpus(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await stream.next("desired_state")
        job_id = await rig.launch(2)
        placement = Placement(0, host.node_id, tuple(host.uuids()))
        effects = (PlaceJob(job_id, 1, "H100", (placement,), "it fits"), StopJob(job_id, "enough"))

        def at_once(tx: Tx) -> None:
            for effect in effects:
                proposal = Proposal(new_id(ACTION), effect, "test", "", is_person=False)
                assert rig.governor.propose_in(tx, proposal).state is ActionState.DONE

        await rig.store.write(at_once)
        job = await rig.until_job(job_id, lambda job: job.state.ended)
        assert job.state is JobState.CANCELLED
        assert job.cost_usd == 0
        assert await rig.store.read(gpu_holds.holds) == {}


async def test_a_job_that_is_cancelled_while_its_host_is_away_ends_when_the_host_comes_back_without_it(
    rig: Rig,
) -> None:
    host = await rig.join("gpu-1")
    async with host.connect():
        pass
    job_id = await rig.launch(2)
    await rig.place(job_id, (host, host.uuids()))
    await rig.propose(StopJob(job_id, "enough"))
    assert not (await rig.job(job_id)).state.ended  # a host may know more than the books
    async with host.connect():
        await rig.until_job(job_id, lambda job: job.state is JobState.CANCELLED)
    assert await rig.store.read(gpu_holds.holds) == {}


async def test_a_host_that_says_nothing_of_a_member_withdrawn_early_is_asked_for_its_full_state(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        job_id = await rig.launch(2)
        await rig.place(job_id, (host, host.uuids()))
        await stream.desired(1)
        await rig.propose(StopJob(job_id, "enough"))
        await stream.desired(0)  # it overtook the order before on the host: nothing ever started
        rig.clock.offset_seconds += 6
        assert "full state" in (await stream.farewell()).reason
        assert len(await rig.store.read(gpu_holds.holds)) == 2
    async with host.connect():
        await rig.until_job(job_id, lambda job: job.state is JobState.CANCELLED)
    assert await rig.store.read(gpu_holds.holds) == {}


async def test_hello_brings_what_ended_while_nobody_listened(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect():
        job_id = await rig.launch(1)
        allocation = await rig.place(job_id, (host, host.uuids()[:1]))
    async with host.connect(members=[report(allocation, state=ENDED)]) as stream:
        await stream.next("member_report_ack")
        assert (await rig.job(job_id)).state is JobState.SUCCEEDED


async def test_reports_of_a_stale_epoch_change_nothing_and_a_zombie_keeps_its_node_out_of_service(rig: Rig) -> None:
    lost, other = await rig.join("gpu-1"), await rig.join("gpu-2")
    job_id = await rig.launch(2)
    async with lost.connect():
        first = await rig.place(job_id, (lost, lost.uuids()))
    await rig.until_node(lost.node_id, lambda node: not node.connected)
    await rig.store.write(lambda tx: hosts.node_lost(tx, lost.node_id, "silent"))
    await rig.propose(RequeueJob(job_id, first.id, "its node was lost"))
    async with other.connect() as healthy:
        second = await rig.place(job_id, (other, other.uuids()), epoch=2)
        await healthy.send(member_report=report(second))
        await rig.until_job(job_id, lambda job: job.state is JobState.RUNNING)

        async with lost.connect(members=[report(first)]) as back:
            node = await rig.node(lost.node_id)
            assert node.state is NodeState.JOINING
            assert "1 leftover" in node.status_reason
            assert (await back.desired(0)) == []
            await back.send(member_report=report(first, state=job_pb2.ALLOCATION_STATE_STOPPING))
            await back.send(member_report=report(first, state=ENDED, exit_code=0, gpu_seconds=99))  # succeeded, it says
            await back.next("member_report_ack")
            await rig.until_node(lost.node_id, lambda node: node.state is NodeState.READY)
        job = await rig.job(job_id)
        assert (job.state, job.epoch) == (JobState.RUNNING, 2)
        assert job.allocations[0].members[0].exit_reason is ExitReason.NODE_LOST
        assert job.allocations[0].gpu_seconds == 0
        await healthy.send(member_report=report(second, state=ENDED))
        await rig.until_job(job_id, lambda job: job.state is JobState.SUCCEEDED)


async def test_a_member_that_the_books_do_not_know_is_a_leftover_until_it_has_ended(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    unknown = node_link_pb2.MemberReport(
        allocation_id=new_id(ALLOCATION), job_id=new_id(JOB), epoch=1, rank=0, state=RUNNING
    )
    async with host.connect(members=[unknown]) as stream:
        assert (await rig.node(host.node_id)).state is NodeState.JOINING
        unknown.state, unknown.exit_reason = ENDED, job_pb2.EXIT_REASON_STOPPED
        await stream.send(member_report=unknown)
        await stream.next("member_report_ack")
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.READY)


async def test_a_node_that_reports_about_another_nodes_allocation_changes_nothing_and_is_on_record(rig: Rig) -> None:
    owner, thief = await rig.join("gpu-1"), await rig.join("gpu-2")
    async with owner.connect() as good, thief.connect() as bad:
        job_id = await rig.launch(1)
        allocation = await rig.place(job_id, (owner, owner.uuids()[:1]))
        await good.desired(1)
        for _ in range(5):
            await bad.send(member_report=report(allocation, state=ENDED, exit_code=0))
            await bad.next("member_report_ack")  # it may forget what it made up
        assert (await rig.job(job_id)).state is JobState.PLACED
        (record,) = await rig.audited(thief.node_id, "report.refuse")
        assert record.job_id == job_id
        await good.send(member_report=report(allocation, state=ENDED, exit_code=4))
        await good.next("member_report_ack")
        assert (await rig.until_job(job_id, lambda job: job.state.ended)).exit_code == 4


async def test_a_hello_full_of_what_belongs_to_others_or_to_nobody_leaves_one_record(rig: Rig) -> None:
    owner, thief = await rig.join("gpu-1"), await rig.join("gpu-2")
    job_id = await rig.launch(1)
    async with owner.connect():
        allocation = await rig.place(job_id, (owner, owner.uuids()[:1]))
    foreign = [report(allocation, 0, ENDED) for _ in range(50)]
    for number, one in enumerate(foreign):
        one.rank = number
    invented = [
        node_link_pb2.MemberReport(allocation_id=new_id(ALLOCATION), job_id=job_id, epoch=1, state=RUNNING)
        for _ in range(50)
    ]
    for _ in range(2):
        async with thief.connect(members=[*foreign, *invented]) as stream:
            await stream.next("member_report_ack")
            assert (await rig.node(thief.node_id)).state is NodeState.JOINING
    assert len(await rig.audited(thief.node_id, "report.refuse")) == 1
    assert (await rig.job(job_id)).state is JobState.PLACED


async def test_a_wrong_rank_epoch_or_job_is_not_applied(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        job_id = await rig.launch(1)
        allocation = await rig.place(job_id, (host, host.uuids()[:1]))
        for changes in ({"rank": 5}, {"epoch": 2}, {"job_id": new_id(JOB)}):
            wrong = report(allocation, state=ENDED)
            for name, value in changes.items():
                setattr(wrong, name, value)
            await stream.send(member_report=wrong)
            await stream.next("member_report_ack")
        assert (await rig.job(job_id)).state is JobState.PLACED


async def test_gpu_seconds_beyond_the_wall_clock_are_cut_and_put_on_record(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        job_id = await rig.launch(2)
        allocation = await rig.place(job_id, (host, host.uuids()))
        rig.clock.offset_seconds += 10
        await stream.send(member_report=report(allocation, state=ENDED, gpu_seconds=1e9))
        await stream.next("member_report_ack")
    seconds = (await rig.job(job_id)).allocations[0].gpu_seconds
    assert 20 <= seconds < 2 * 10 + 2 * 1 + 2 * 10
    assert len(await rig.audited(host.node_id, "report.correct")) == 1


async def test_times_of_a_host_that_lives_in_the_future_are_set_to_now(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        job_id = await rig.launch(1)
        allocation = await rig.place(job_id, (host, host.uuids()[:1]))
        future = stamp(rig.clock.now() + timedelta(days=400))
        await stream.send(member_report=report(allocation, state=ENDED, started_at=future, ended_at=future))
        await stream.next("member_report_ack")
    member = (await rig.job(job_id)).allocations[0].members[0]
    assert member.started_at is not None
    assert member.ended_at is not None
    assert member.started_at <= member.ended_at <= rig.clock.now()


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
            async with asyncio.timeout(10):
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


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu_seconds": -1.0},
        {"gpu_seconds": math.nan},
        {"gpu_seconds": math.inf},
        {"peak_memory_bytes": 2**63},
        {"epoch": 0},
        {"rank": 2**31},
        {"state": job_pb2.ALLOCATION_STATE_UNSPECIFIED},
        {"state": 99},
        {"state": ENDED, "exit_reason": job_pb2.EXIT_REASON_UNSPECIFIED},
        {"state": ENDED, "exit_reason": 77},
        {"state": RUNNING, "exit_reason": job_pb2.EXIT_REASON_EXITED},
        {"allocation_id": "a-x"},
        {"allocation_id": "a-000000000000\n"},
        {"job_id": ""},
    ],
)
def test_a_report_that_makes_no_sense_is_refused(changes: dict[str, int | float | str]) -> None:
    wire = node_link_pb2.MemberReport(allocation_id=new_id(ALLOCATION), job_id=new_id(JOB), epoch=1, state=RUNNING)
    for name, value in changes.items():
        setattr(wire, name, value)
    with pytest.raises(InvalidArgument):
        read_report(wire, MovableClock().now())


async def test_garbage_reports_do_not_end_the_stream(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await stream.send(member_report=node_link_pb2.MemberReport(allocation_id="\x00"))
        await stream.send(inventory=node_pb2.HostInventory())
        await stream.heartbeat(1)
        await stream.next("heartbeat_ack")
        assert (await rig.node(host.node_id)).state is NodeState.READY


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_never_raise_anything_else(data: bytes) -> None:
    now = MovableClock.now(MovableClock())
    report_wire, inventory_wire = node_link_pb2.MemberReport(), node_pb2.HostInventory()
    with contextlib.suppress(DecodeError, OrQuantaError):
        report_wire.ParseFromString(data)
        read_report(report_wire, now)
    with contextlib.suppress(DecodeError, OrQuantaError):
        inventory_wire.ParseFromString(data)
        read_inventory(inventory_wire)


def test_a_message_for_people_is_cut_and_holds_no_control_characters() -> None:
    wire = node_link_pb2.MemberReport(
        allocation_id=new_id(ALLOCATION), job_id=new_id(JOB), epoch=1, state=RUNNING, message="a\x00b\n" + "x" * 5000
    )
    told = read_report(wire, MovableClock.now(MovableClock()))
    assert told.message.startswith("a\ufffdb\n")
    assert len(told.message) == 2000
    assert told.state is AllocationState.RUNNING


async def test_for_a_slow_host_only_the_newest_of_each_thing_waits() -> None:
    outbox = Outbox()
    for number in range(10_000):
        outbox.put_heartbeat_ack(number)
        outbox.put_desired(node_link_pb2.DesiredState(revision=number))
        outbox.put_report_ack(f"a-{number % 8000}", 0)
    outbox.end(node_link_pb2.Disconnect(reason="bye"))
    outbox.end(node_link_pb2.Disconnect(reason="too late"))
    said = await outbox.take()
    assert said[0].heartbeat_ack.sequence == 9999
    assert said[1].desired_state.revision == 9999
    assert len(said) == 2 + 4096 + 1
    assert said[-1].disconnect.reason == "bye"
    assert await outbox.take() == []
