"""DiagnoseJob: by rules, and by a model where they end, for whoever may read the job."""

from control_plane.governor import books, verdicts
from control_plane.model.identity import Role
from control_plane.model.ids import JobId, NodeId
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.report import MemberReport
from control_plane.store import jobs
from control_plane.store.database import Tx
from control_plane.telemetry.log_file import LogChunk, LogRecord, LogStream
from orquanta.v1 import diagnosis_pb2, job_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job

OUTPUT = b"step 1\nshard 12 ends in the midst of a record\n"


async def failed_job(fleet: Fleet, user: Client, *, end: bool = True) -> str:
    """A job that wrote something which no rule knows, and failed."""
    node = await fleet.node("host-1")
    spec = a_job()
    spec.max_attempts = 1
    job_id = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))).job.id
    await fleet.place(job_id, node, 1)
    (allocation,) = (await fleet.store.read(lambda tx: jobs.require(tx, JobId(job_id)))).allocations
    records = (LogRecord(LogStream.STDERR, OUTPUT, fleet.clock.now()),)
    chunk = LogChunk(JobId(job_id), allocation.id, 1, 0, 0, len(OUTPUT), records, end=end)
    await fleet.logs.append([(chunk, False)])

    def report(tx: Tx) -> None:
        ended = MemberReport(
            allocation_id=allocation.id,
            job_id=JobId(job_id),
            epoch=1,
            rank=0,
            state=AllocationState.ENDED,
            exit_reason=ExitReason.EXITED,
            exit_code=3,
        )
        books.apply_report(tx, NodeId(node.id), ended)
        verdicts.conclude(tx, allocation.id)

    await fleet.store.write(report)
    return job_id


async def why(client: Client, job_id: str) -> diagnosis_pb2.Diagnosis:
    response = await client.jobs.DiagnoseJob(job_pb2.DiagnoseJobRequest(job_id=job_id), timeout=60)
    return response.diagnosis


async def test_where_rules_end_the_owner_gets_a_models_words_and_a_viewer_reads_them(
    fleet: Fleet, user: Client
) -> None:
    job_id = await failed_job(fleet, user)
    viewer = await fleet.client(Role.VIEWER)
    by_rules = await why(user, job_id)
    assert (by_rules.cause, by_rules.diagnosed_by, by_rules.note) == ("PROGRAM_FAILED", "rules", "")

    fleet.model.model_name = "llama"
    fleet.model.script = [
        {
            "cause": "DATA_INVALID",
            "summary": "A shard is cut off.",
            "advice": "Write it anew.",
            "fault": "job",
            "confidence": 0.9,
            "evidence": [f"log:{job_id}/0/7"],
            "alternatives": [],
        }
    ]
    assert "owner" in (await why(viewer, job_id)).note
    found = await why(user, job_id)
    assert (found.cause, found.diagnosed_by, found.confidence) == ("DATA_INVALID", "llama", 0.7)
    assert [(one.id, one.kind, one.text) for one in found.evidence] == [
        (f"log:{job_id}/0/7", "log", "shard 12 ends in the midst of a record")
    ]
    assert await why(viewer, job_id) == found
    fleet.model.assert_complete()


async def test_until_all_of_the_output_has_come_what_is_unsure_says_so_and_a_model_is_asked_again_later(
    fleet: Fleet, user: Client
) -> None:
    job_id = await failed_job(fleet, user, end=False)
    assert "on its way" in (await why(user, job_id)).note
    fleet.model.model_name = "llama"
    early, late = (
        {
            "cause": cause,
            "summary": "A shard is cut off.",
            "advice": "Write it anew.",
            "fault": "job",
            "confidence": 0.9,
            "evidence": [f"log:{job_id}/0/7"],
            "alternatives": [],
        }
        for cause in ("DISK_FULL", "DATA_INVALID")
    )
    fleet.model.script = [early, late]
    assert [(await why(user, job_id)).cause for _ in range(2)] == ["DISK_FULL", "DISK_FULL"]
    fleet.clock.advance(600)
    assert [(await why(user, job_id)).cause for _ in range(2)] == ["DATA_INVALID", "DATA_INVALID"]
    fleet.model.assert_complete()
