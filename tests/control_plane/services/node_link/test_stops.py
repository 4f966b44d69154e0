"""How hosts are told to stop work: with a checkpoint first only where another attempt takes the work up."""

from control_plane.model.action import DrainNode, StopJob
from control_plane.model.ids import NodeId
from control_plane.model.job import JobState
from orquanta.v1 import job_pb2
from tests.control_plane.services.node_link.hosts import Stream, report
from tests.control_plane.services.node_link.rig import Rig

RUNNING = job_pb2.ALLOCATION_STATE_RUNNING
ENDED = job_pb2.ALLOCATION_STATE_ENDED


async def stops(stream: Stream, expected: dict[str, bool]) -> None:
    """Read until the newest desired state tells this: by allocation, whether a checkpoint comes first."""
    while True:
        said = [one.desired_state for one in stream.received if one.WhichOneof("message") == "desired_state"]
        if said and {one.allocation_id: one.checkpoint_first for one in said[-1].stops} == expected:
            return
        await stream.next("desired_state")


async def drain(rig: Rig, node_id: NodeId) -> None:
    await rig.propose(DrainNode(node_id, "its fan rattles"))


async def test_a_person_who_cancels_wants_no_checkpoint_and_a_move_does(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        jobs = [await rig.launch(1, checkpoint_signal="SIGUSR1", checkpoint_seconds=60) for _ in range(2)]
        cancelled, moved = [await rig.place(job, (host, [uuid])) for job, uuid in zip(jobs, host.uuids(), strict=True)]
        await stream.desired(2)
        for one in (cancelled, moved):
            await stream.send(member_report=report(one))
        for job_id in jobs:
            await rig.until_job(job_id, lambda job: job.state is JobState.RUNNING)
        await rig.propose(StopJob(cancelled.job_id, "enough"))
        await stops(stream, {cancelled.id: False})
        await drain(rig, host.node_id)
        await stops(stream, {cancelled.id: False, moved.id: True})
        # The end of one is in the books: nothing more is said of it.
        stopped = job_pb2.EXIT_REASON_STOPPED
        await stream.send(member_report=report(cancelled, 0, ENDED, exit_reason=stopped))
        await stops(stream, {moved.id: True})
        # Told again in full on another stream, and until its end.
    async with host.connect(members=[report(moved, 0, job_pb2.ALLOCATION_STATE_STOPPING)]) as stream:
        await stops(stream, {moved.id: True})
        await rig.propose(StopJob(moved.job_id, "not elsewhere either"))
        await stops(stream, {moved.id: False})
        await stream.send(member_report=report(moved, 0, ENDED, exit_reason=stopped))
        await stops(stream, {})
    assert [(await rig.job(job)).state for job in jobs] == [JobState.CANCELLED, JobState.CANCELLED]


async def test_what_is_left_of_a_gang_that_has_failed_saves_nothing(rig: Rig) -> None:
    one, two = await rig.join("gpu-1"), await rig.join("gpu-2")
    async with one.connect() as first, two.connect() as second:
        job_id = await rig.launch(4, checkpoint_signal="SIGUSR1", checkpoint_seconds=60)
        gang = await rig.place(job_id, (one, one.uuids()), (two, two.uuids()))
        await first.desired(1)
        await second.desired(1)
        await first.send(member_report=report(gang, 0))
        await second.send(member_report=report(gang, 1))
        await rig.until_job(job_id, lambda job: job.state is JobState.RUNNING)
        await first.send(member_report=report(gang, 0, ENDED, exit_code=3))
        await stops(second, {gang.id: False})
        await stops(first, {})
