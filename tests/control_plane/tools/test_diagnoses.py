"""Why a job failed, from the books, its hosts' conditions and its own output."""

from datetime import timedelta

from control_plane.model.health import Condition, ConditionScope, ConditionSeverity
from control_plane.model.identity import Role
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.tool import ToolStatus
from control_plane.store import conditions
from control_plane.telemetry.log_file import LogChunk, LogRecord, LogStream
from tests.control_plane.tools.bench import Bench
from tests.control_plane.world import job_id, spec


async def failed_job(bench: Bench, text: str) -> None:
    """Let a job write something and fail."""
    node = await bench.world.node("gamma")
    await bench.world.launch(await bench.account("ada"), spec("train"))
    await bench.world.place("train", (node, [0]))
    attempt = await bench.world.newest("train")
    data = text.encode()
    record = LogRecord(LogStream.STDERR, data, bench.world.clock.now())
    await bench.logs.append([(LogChunk(job_id("train"), attempt.id, 1, 0, 0, len(data), (record,), end=True), False)])
    await bench.world.report("train", AllocationState.ENDED, ExitReason.EXITED, exit_code=1)


async def test_a_failure_is_explained_by_the_line_that_tells_it(bench: Bench) -> None:
    await failed_job(bench, "epoch 1\ntorch.OutOfMemoryError: CUDA out of memory.\nTried again\n")

    result = await bench.call("diagnose_job", role=Role.USER, job="train")

    assert result.status is ToolStatus.OK
    assert result.untrusted
    assert result.data["cause"] == "GPU_OUT_OF_MEMORY"
    assert result.data["evidence"][0]["evidence_id"] == f"log:{job_id('train')}/0/8"


async def test_a_condition_of_its_gpu_explains_more_than_the_output(bench: Bench) -> None:
    await failed_job(bench, "RuntimeError: CUDA error: unspecified launch failure\n")
    (member,) = (await bench.world.newest("train")).members
    at = (member.ended_at or bench.world.clock.now()) - timedelta(seconds=1)
    one = Condition(
        id="xid-79",
        scope=ConditionScope.GPU,
        subject=member.gpu_uuids[0],
        kind="XID",
        severity=ConditionSeverity.FATAL,
        summary="XID 79",
        first_seen_at=at,
        last_seen_at=at,
        code=79,
        gpu_uuid=member.gpu_uuids[0],
    )
    await bench.world.store.write(lambda tx: conditions.put(tx, member.node_id, one))

    result = await bench.call("diagnose_job", job="train")

    assert result.data["cause"] == "XID_79"
    assert result.data["fault"] == "hardware"
    assert result.data["evidence"][0]["evidence_id"] == f"condition:{member.node_id}/xid-79"


async def test_a_job_or_attempt_that_does_not_exist_is_an_error(bench: Bench) -> None:
    assert (await bench.call("diagnose_job", job="nothing")).status is ToolStatus.ERROR
    await failed_job(bench, "x\n")
    assert (await bench.call("diagnose_job", job="train", attempt=9)).error_code == "ATTEMPT_NOT_FOUND"
