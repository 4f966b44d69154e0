"""Work over the link: what hosts are told to run, and what the books make of what they say."""

from datetime import timedelta

from control_plane.model.action import ActionState, PlaceJob, Placement, Proposal, StopJob
from control_plane.model.ids import ACTION, new_id
from control_plane.model.job import ExitReason, JobState
from control_plane.store import gpu_holds
from control_plane.store.database import Tx
from orquanta.v1 import job_pb2
from tests.control_plane.services.node_link.hosts import report
from tests.control_plane.services.node_link.rig import Rig

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
