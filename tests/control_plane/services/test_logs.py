from datetime import UTC, datetime

import pytest

from control_plane.governor import books
from control_plane.model.ids import AllocationId, JobId, NodeId
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.node import Node
from control_plane.model.report import MemberReport
from control_plane.store import jobs
from control_plane.store.database import Tx
from control_plane.telemetry.log_file import LogChunk, LogRecord, LogStream
from orquanta.v1 import job_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused

READ_AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


async def running_job(fleet: Fleet, user: Client) -> tuple[str, Node]:
    node = await fleet.node("host-1", gpus=2)
    job = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    await fleet.place(job.id, node, 1)
    return job.id, node


async def write(fleet: Fleet, job_id: str, offset: int, data: bytes, *, end: bool = False) -> int:
    """Store output as the ingest does; return where the next chunk begins."""
    records = (LogRecord(LogStream.STDOUT, data, READ_AT),) if data else ()
    chunk = LogChunk(
        job_id=JobId(job_id),
        allocation_id=AllocationId("a-0123456789ab"),
        epoch=1,
        rank=0,
        offset=offset,
        next_offset=offset + len(data),
        records=records,
        end=end,
    )
    await fleet.logs.append([(chunk, False)])
    return offset + len(data)


async def finish(fleet: Fleet, job_id: str, node: Node) -> None:
    def report(tx: Tx) -> None:
        (allocation,) = jobs.require(tx, JobId(job_id)).allocations
        ended = MemberReport(
            allocation_id=allocation.id,
            job_id=JobId(job_id),
            epoch=1,
            rank=0,
            state=AllocationState.ENDED,
            exit_reason=ExitReason.EXITED,
            exit_code=0,
            gpu_seconds=1.0,
        )
        books.apply_report(tx, NodeId(node.id), ended)

    await fleet.store.write(report)


async def output(client: Client, **request: object) -> list[job_pb2.ReadLogsResponse]:
    asked = job_pb2.ReadLogsRequest()
    for name, value in request.items():
        setattr(asked, name, value)
    return [part async for part in client.jobs.ReadLogs(asked)]


async def test_the_output_of_a_job_is_read_with_its_stream_and_place(fleet: Fleet, user: Client) -> None:
    job_id, _ = await running_job(fleet, user)
    await write(fleet, job_id, 0, b"one\ntwo\n\xff\n")
    (part,) = await output(user, job_id=job_id)
    assert (part.data, part.epoch, part.rank) == (b"one\ntwo\n\xff\n", 1, 0)
    assert part.stream == job_pb2.LOG_STREAM_STDOUT
    assert part.read_at.seconds == int(READ_AT.timestamp())


async def test_only_the_last_lines_are_read_if_asked(fleet: Fleet, user: Client) -> None:
    job_id, _ = await running_job(fleet, user)
    await write(fleet, job_id, 0, b"one\ntwo\nthree\n")
    assert b"".join([part.data for part in await output(user, job_id=job_id, tail_lines=2)]) == b"two\nthree\n"


async def test_a_job_that_has_not_run_has_no_output(fleet: Fleet, user: Client) -> None:
    job = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    assert await output(user, job_id=job.id) == []
    outcome = await refused(user.jobs.ReadLogs(job_pb2.ReadLogsRequest(job_id=job.id, epoch=3)))
    assert outcome.reason == "ATTEMPT_NOT_FOUND"


async def test_a_follower_of_a_queued_job_sees_its_output_until_it_ends(fleet: Fleet, user: Client) -> None:
    node = await fleet.node("host-1", gpus=2)
    job = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    stream = user.jobs.ReadLogs(job_pb2.ReadLogsRequest(job_id=job.id, follow=True))
    await fleet.place(job.id, node, 1)
    at = await write(fleet, job.id, 0, b"one\n")
    reader = aiter(stream)
    assert (await anext(reader)).data == b"one\n"
    at = await write(fleet, job.id, at, b"two\n")
    assert (await anext(reader)).data == b"two\n"
    await write(fleet, job.id, at, b"three\n", end=True)
    await finish(fleet, job.id, node)
    assert [part.data async for part in stream] == [b"three\n"]


async def test_a_follower_that_was_cut_goes_on_where_it_was(fleet: Fleet, user: Client) -> None:
    job_id, node = await running_job(fleet, user)
    at = await write(fleet, job_id, 0, b"one\n")
    stream = user.jobs.ReadLogs(job_pb2.ReadLogsRequest(job_id=job_id, follow=True))
    token = (await anext(aiter(stream))).resume_token
    stream.cancel()
    await write(fleet, job_id, at, b"two\n", end=True)
    await finish(fleet, job_id, node)
    rest = await output(user, job_id=job_id, follow=True, resume_token=token)
    assert [part.data for part in rest] == [b"two\n"]
    assert await output(user, job_id=job_id, follow=True, resume_token=rest[-1].resume_token) == []


@pytest.mark.parametrize("tail_lines", [0, 5])
async def test_the_last_output_of_a_job_that_has_just_ended_is_waited_for(
    fleet: Fleet, user: Client, tail_lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet.logs, "_drain_seconds", 60.0)
    job_id, node = await running_job(fleet, user)
    at = await write(fleet, job_id, 0, b"one\n")
    await finish(fleet, job_id, node)
    stream = user.jobs.ReadLogs(job_pb2.ReadLogsRequest(job_id=job_id, tail_lines=tail_lines))
    parts = aiter(stream)
    assert (await anext(parts)).data == b"one\n"
    await write(fleet, job_id, at, b"two\n", end=True)
    assert [part.data async for part in stream] == [b"two\n"]


async def test_a_follower_of_a_job_that_ends_without_output_is_let_go(fleet: Fleet, user: Client) -> None:
    job_id, node = await running_job(fleet, user)
    await finish(fleet, job_id, node)
    fleet.clock.advance(60)
    assert await output(user, job_id=job_id, follow=True) == []
    queued = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    await user.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=queued.id))
    assert await output(user, job_id=queued.id, follow=True) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"resume_token": "garbage"}, "RESUME_TOKEN_INVALID"),
        ({"resume_token": "1|7:5"}, "RESUME_TOKEN_INVALID"),
        ({"resume_token": "1|x"}, "RESUME_TOKEN_INVALID"),
        ({"resume_token": "1|" + "0:1," * 30_000}, "RESUME_TOKEN_INVALID"),
        ({"rank": 3}, "RANK_UNKNOWN"),
        ({"rank": 4_000_000}, "NUMBER_OUT_OF_RANGE"),
        ({"tail_lines": 4_000_000}, "NUMBER_OUT_OF_RANGE"),
        ({"epoch": 4_000_000_000}, "NUMBER_OUT_OF_RANGE"),
        ({"epoch": 2}, "ATTEMPT_NOT_FOUND"),
        ({"job_id": "../../etc"}, "ID_INVALID"),
    ],
)
async def test_a_bad_question_for_output_is_refused(
    fleet: Fleet, user: Client, fields: dict[str, object], reason: str
) -> None:
    job_id, _ = await running_job(fleet, user)
    request = job_pb2.ReadLogsRequest(job_id=job_id)
    for name, value in fields.items():
        setattr(request, name, value)
    assert (await refused(user.jobs.ReadLogs(request))).reason == reason
