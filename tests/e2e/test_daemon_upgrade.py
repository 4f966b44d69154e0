"""The daemon is stopped and another one starts in its place while jobs run: they are adopted, with all their output."""

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet, Host, wait_until
from orquanta.types.jobs import Job, JobSpec, JobState, ResourceRequest
from tests.e2e.conftest import output, reaches
from tests.standstill import stand_still

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(180)]

LINES = 100_000
CHATTY = (
    "i=0; while [ $i -lt 99 ]; do seq $((i*1000+1)) $((i*1000+1000)); sleep 0.04; i=$((i+1)); done; "
    "until test -e {end}; do sleep 0.05; done; seq 99001 100000"
)
BINARY = "for i in 1 2 3 4 5 6; do head -c 500000 /dev/urandom | tee -a {copy}; sleep 0.6; done"


async def submit(client: AsyncClient, name: str, command: str) -> Job:
    spec = JobSpec(name, ResourceRequest(1, ("L4",)), command=command, max_runtime_seconds=300)
    return (await client.jobs.submit(spec)).job


async def upgrade(host: Host) -> None:
    await host.daemon.stop()
    assert host.supervisors(), "the jobs ended with the daemon, or before it"
    await asyncio.sleep(0.5)  # as long as installing a package takes at least
    host.daemon.start()


async def test_a_hundred_thousand_lines_and_binary_output_survive_two_upgrades(
    quick_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    copy, end = tmp_path / "copy", tmp_path / "end"
    async with quick_fleet() as fleet:
        admin = await fleet.client()
        host = await fleet.add_host(admin, "upgraded", "2xL4")
        chatty = await submit(admin, "chatty", CHATTY.format(end=end))
        binary = await submit(admin, "binary", BINARY.format(copy=copy))
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(output(admin, chatty.id, follow=True))
            await asyncio.gather(*(reaches(admin, job.id, JobState.RUNNING) for job in (chatty, binary)))
            await upgrade(host)
            await upgrade(host)
            end.touch()
        for job in (chatty, binary):
            ended = await admin.jobs.wait(job.id)
            assert (ended.state, ended.epoch) == (JobState.SUCCEEDED, 1), ended.status_reason
        expected = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
        assert _same(following.result(), expected)
        assert _same(await output(admin, chatty.id, follow=True), expected)
        assert _same(await output(admin, binary.id, follow=True), copy.read_bytes())


async def test_jobs_that_end_while_no_daemon_runs_are_reported_with_code_and_output(
    quick_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    end = tmp_path / "end"
    waits = f"echo begun; until test -e {end}; do sleep 0.05; done"
    async with quick_fleet() as fleet:
        admin = await fleet.client()
        host = await fleet.add_host(admin, "upgraded", "2xL4")
        failing = await submit(admin, "failing", f"{waits}; echo over; exit 7")
        killed = await submit(admin, "killed", f"{waits}; kill -9 $$")
        for job in (failing, killed):
            await reaches(admin, job.id, JobState.RUNNING)
        await host.daemon.stop()
        end.touch()
        await wait_until(lambda: not host.supervisors(), "the jobs have ended")
        host.daemon.start()
        first, second = [await admin.jobs.wait(job.id) for job in (failing, killed)]
        assert (first.state, first.exit_code) == (JobState.FAILED, 7)
        member = second.allocations[-1].members[0]
        assert (second.state, member.signal) == (JobState.FAILED, int(signal.SIGKILL))
        assert await output(admin, first.id, follow=True) == b"begun\nover\n"
        assert await output(admin, second.id, follow=True) == b"begun\n"


async def test_scheduling_goes_on_and_no_output_is_lost_while_nats_hangs(quick_fleet: Callable[..., Fleet]) -> None:
    async with quick_fleet() as fleet:
        admin = await fleet.client()
        await fleet.add_host(admin, "host", "2xL4")
        talking = await submit(admin, "talking", "for i in $(seq 1 40); do echo $i; sleep 0.15; done")
        await reaches(admin, talking.id, JobState.RUNNING)
        hung = fleet.broker_pid
        assert hung
        stand_still(hung)
        try:
            meanwhile = await submit(admin, "meanwhile", "echo while NATS hung")
            async with asyncio.timeout(30):
                done = await admin.jobs.wait(meanwhile.id)
            assert done.state is JobState.SUCCEEDED, done.status_reason
            following = asyncio.ensure_future(output(admin, meanwhile.id, follow=True))
            await asyncio.sleep(7)
        finally:
            with contextlib.suppress(ProcessLookupError):  # the control plane may have put another in its place
                os.kill(hung, signal.SIGCONT)
        assert (await admin.jobs.wait(talking.id)).state is JobState.SUCCEEDED
        assert await following == b"while NATS hung\n"
        lines = b"".join(b"%d\n" % number for number in range(1, 41))
        assert await output(admin, talking.id, follow=True) == lines


def _same(found: bytes, expected: bytes) -> bool:
    """Compare without a diff of megabytes in the report."""
    return (len(found), hashlib.sha256(found).digest()) == (len(expected), hashlib.sha256(expected).digest())
