"""Jobs that fail, and what their runs are then seen to do."""

from control_plane.agents.scheduler import Scheduler
from control_plane.model.goal import Goal
from control_plane.model.job import AllocationState, ExitReason, Job
from control_plane.telemetry.log_file import LogChunk, LogRecord, LogStream
from tests.control_plane.agents.orchestrator.runs.rig import Rig
from tests.control_plane.world import LIMITS

ANY = "train on 1 GPU for 1 hour: `python train.py`"
NETWORK = "requests.exceptions.ConnectionError: Max retries exceeded with url: /model"


async def place(rig: Rig) -> None:
    await Scheduler(rig.world.store, rig.world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user).round()


async def wrote(rig: Rig, job: Job, text: str) -> None:
    """Let rank 0 of the job's newest attempt have written this."""
    attempt = job.allocations[-1]
    data = f"{text}\n".encode()
    record = LogRecord(LogStream.STDERR, data, rig.world.clock.now())
    chunk = LogChunk(job.id, attempt.id, attempt.epoch, 0, 0, len(data), (record,), end=True)
    await rig.logs.append([(chunk, False)])


async def newest(rig: Rig, goal: Goal, name: str = "") -> Job:
    """The goal's job that has its place now."""
    found = [job for job in await rig.jobs(goal) if not name or job.spec.name == name]
    return max(found, key=lambda job: (job.created_at, not job.state.ended))


async def fails(
    rig: Rig,
    goal: Goal,
    text: str = "",
    reason: ExitReason = ExitReason.EXITED,
    *,
    gpu_seconds: float = 60.0,
    name: str = "",
) -> Job:
    """Let the goal's newest job start and fail, and its run look at it."""
    await place(rig)
    job = await newest(rig, goal, name)
    if text:
        await wrote(rig, job, text)
    await rig.world.report_of(job.id, AllocationState.ENDED, reason, exit_code=1, gpu_seconds=gpu_seconds)
    await looked_at(rig)
    return job


async def looked_at(rig: Rig) -> None:
    """Let the last lines come in, and every run take its moves."""
    await rig.settle()
    rig.world.clock.advance(3)
    await rig.settle()


async def succeeds(rig: Rig, goal: Goal, *, gpu_seconds: float = 60.0) -> Job:
    await place(rig)
    job = await newest(rig, goal)
    await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=0, gpu_seconds=gpu_seconds)
    await rig.settle()
    return job
