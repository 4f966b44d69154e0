"""What keeps jobs from starting, with real jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from node_agent.jobs.runner import JobRunner
from node_agent.jobs.status import MemberState, Outcome
from node_agent.parts.jobs import HostJobs
from node_agent.repair.ports import HostJob
from tests.node_agent.jobs.host import Host, ended, eventually, running, spec, until


@asynccontextmanager
async def jobs_of(runner: JobRunner) -> AsyncIterator[HostJobs]:
    jobs = HostJobs(runner, on_changed=lambda: None, gpu_of=lambda uuid: uuid)
    following = asyncio.ensure_future(jobs.run())
    try:
        yield jobs
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def with_processes(jobs: HostJobs, least: int) -> HostJob:
    """Return the one job, once it is known with so many processes."""

    def known() -> bool:
        jobs.changed()  # by itself it looks twice a minute
        return len(jobs.jobs()[0].process_ids) >= least

    await eventually(known)
    return jobs.jobs()[0]


async def test_no_job_starts_on_a_gpu_that_is_being_repaired_and_it_starts_afterwards(host: Host) -> None:
    held = spec("held", "true", gpu_uuids=("GPU-1",), gpus_per_node=1)
    free = spec("free", "true", gpu_uuids=("GPU-2",), gpus_per_node=1)
    async with host.daemon() as runner, jobs_of(runner) as jobs:
        jobs.hold(["GPU-1"])
        await runner.converge({held.key: held, free.key: free})
        await ended(runner, free.key)
        status = runner.statuses()[held.key]
        assert (status.state, "being repaired" in status.message) == (MemberState.STARTING, True)
        jobs.let_go()
        assert (await ended(runner, held.key)).exit_code == 0


async def test_a_repair_of_the_whole_host_holds_every_job(host: Host) -> None:
    job = spec("any", "true")
    async with host.daemon() as runner, jobs_of(runner) as jobs:
        jobs.hold([])
        await runner.converge({job.key: job})
        assert "being repaired" in runner.statuses()[job.key].message
        jobs.let_go()
        await ended(runner, job.key)


async def test_a_cordoned_host_starts_nothing_and_what_waited_then_needs_another_order(host: Host) -> None:
    goes_on, waits = spec("goes-on", "sleep 60"), spec("waits", "true")
    async with host.daemon() as runner, jobs_of(runner) as jobs:
        await runner.converge({goes_on.key: goes_on})
        await running(runner, goes_on.key)
        jobs.hold([])
        await runner.converge({goes_on.key: goes_on, waits.key: waits})
        jobs.cordon("the link is down")
        jobs.let_go()
        await runner.converge({goes_on.key: goes_on, waits.key: waits})  # a stale order, tried again
        assert runner.statuses()[waits.key].message == "waits: the link is down"
        assert runner.statuses()[goes_on.key].state is MemberState.RUNNING
        runner.drop_waiting()
        jobs.cordon("")
        await asyncio.sleep(0)
        assert runner.statuses()[waits.key].state is MemberState.STARTING
        await runner.converge({goes_on.key: goes_on, waits.key: waits})
        assert (await ended(runner, waits.key)).exit_code == 0


async def test_jobs_are_known_with_their_processes_and_can_be_stopped(host: Host) -> None:
    job = spec("tree", "sleep 60 & sleep 61 & wait", gpu_uuids=("GPU-1",), gpus_per_node=1)
    async with host.daemon() as runner, jobs_of(runner) as jobs:
        await runner.converge({job.key: job})
        status = await running(runner, job.key)
        found = await with_processes(jobs, 3)
        assert (found.job_id, found.gpu_uuids) == (job.job_id, ("GPU-1",))
        assert status.pid in found.process_ids
        assert jobs.holders()["GPU-1"].allocation_id == job.allocation_id
        supervisors = jobs.protected_process_ids()
        assert len(supervisors) == 1
        assert not supervisors & found.process_ids
        await jobs.stop([found], "a repair")
        assert runner.statuses()[job.key].outcome is Outcome.STOPPED
        assert jobs.jobs() == []
        await jobs.stop([found], "a repair")  # there is nothing left to wait for


async def test_stopping_a_job_that_waits_ends_it_without_a_start(host: Host) -> None:
    job = spec("waits", "true")
    async with host.daemon() as runner, jobs_of(runner) as jobs:
        jobs.hold([])
        await runner.converge({job.key: job})
        await jobs.stop(jobs.jobs(), "a repair")
        status = await until(runner, job.key, lambda found: found.ended)
        assert (status.outcome, status.started_at) == (Outcome.STOPPED, None)


async def test_a_job_keeps_processes_whose_parents_have_ended(host: Host) -> None:
    job = spec("orphans", "(sleep 60 & echo $! > orphan); exec sleep 61", gpu_uuids=("GPU-1",), gpus_per_node=1)
    async with host.daemon() as runner, jobs_of(runner) as jobs:
        await runner.converge({job.key: job})
        status = await running(runner, job.key)
        found = (await with_processes(jobs, 2)).process_ids
        assert status.pid in found
        assert not found & jobs.protected_process_ids(), "the supervisor is none of the job's"
