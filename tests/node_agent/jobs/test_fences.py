"""Until when jobs may run without word of the control plane."""

import asyncio

from node_agent.jobs.proc import boot_id, boottime_seconds
from node_agent.jobs.status import MemberState, Outcome
from node_agent.jobs.supervisor.fence import read_fence
from tests.node_agent.jobs.host import (
    Host,
    ended,
    running,
    spec,
)


async def test_a_fence_that_passes_stops_jobs_and_one_that_is_renewed_does_not(host: Host) -> None:
    job, other = spec("fenced", "sleep 1000"), spec("other", "sleep 1000")
    async with host.daemon() as runner:
        runner.set_fence(boottime_seconds() + 1000)
        await runner.converge({job.key: job})
        await running(runner, job.key)
        now = boottime_seconds()
        runner.set_fence(now + 0.8)
        runner.set_fence(now + 1.0)
        status = await ended(runner, job.key)
        assert status.outcome is Outcome.FENCED
        assert boottime_seconds() >= now + 1.0

        await runner.converge({other.key: other})
        waits = runner.statuses()[other.key]
        assert (waits.state, waits.message[:5]) == (MemberState.STARTING, "waits")
        runner.set_fence(boottime_seconds() + 1000)
        await runner.converge({other.key: other})
        await running(runner, other.key)
        await runner.converge({})
        await ended(runner, other.key)


async def test_a_fence_that_is_only_extended_never_moves_back(host: Host) -> None:
    async with host.daemon() as runner:
        now = boottime_seconds()
        found = []
        for extend, seconds in [(True, 200), (True, 100), (True, 300), (False, 50), (True, 40), (True, 60)]:
            (runner.extend_fence if extend else runner.set_fence)(now + seconds)
            deadline = read_fence(str(host.settings.fence_file), boot_id())
            found.append(None if deadline is None else round(deadline - now))
    assert found == [200, 200, 300, 50, 50, 60]


async def test_what_was_ordered_before_the_fence_passed_is_not_started_when_it_opens_again(host: Host) -> None:
    """By then the control plane may have started it elsewhere; only its next order tells."""
    holder = spec("holder", "sleep 1000", gpu_uuids=("GPU-1",))
    waiting, next_job = spec("waiting", "touch ran", gpu_uuids=("GPU-1",)), spec("next", "true")
    async with host.daemon() as runner:
        runner.set_fence(boottime_seconds() + 1000)
        await runner.converge({job.key: job for job in (holder, waiting)})
        await running(runner, holder.key)
        runner.set_fence(boottime_seconds() + 0.1)
        assert (await ended(runner, holder.key)).outcome is Outcome.FENCED
        runner.set_fence(boottime_seconds() + 1000)
        await asyncio.sleep(0)
        assert runner.statuses()[waiting.key].state is MemberState.STARTING
        await runner.converge({next_job.key: next_job})
        await ended(runner, next_job.key)
        assert (await ended(runner, waiting.key)).outcome is Outcome.STOPPED
    assert not host.work_dir(waiting.key).exists()
