"""What hosts say that is stale, of others, impossible or no message at all: none of it reaches the books."""

import contextlib
import math
from datetime import timedelta

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.errors import InvalidArgument, OrQuantaError
from control_plane.governor import hosts
from control_plane.model.action import RequeueJob
from control_plane.model.ids import ALLOCATION, JOB, new_id
from control_plane.model.job import AllocationState, ExitReason, JobState
from control_plane.model.node import NodeState
from control_plane.services.link_wire import read_inventory, read_report
from orquanta.v1 import job_pb2, node_link_pb2, node_pb2
from tests.control_plane.services.node_link.hosts import MovableClock, report, stamp
from tests.control_plane.services.node_link.rig import Rig

RUNNING = job_pb2.ALLOCATION_STATE_RUNNING
ENDED = job_pb2.ALLOCATION_STATE_ENDED


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
