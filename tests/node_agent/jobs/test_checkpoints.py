"""Stops that give a job time for a checkpoint first."""

import signal
from pathlib import Path

import pytest

from node_agent.jobs.proc import boottime_seconds
from node_agent.jobs.status import Outcome
from tests.node_agent.jobs.host import (
    Host,
    ended,
    eventually,
    running,
    spec,
)

MIB = 1024 * 1024

# Signals 32 and 33 are the C library's own: no program can set them, so who started the tests decides.
_C_LIBRARY_SIGNALS = 0b11 << 31

SAVER = "trap 'touch saved; exit 0' USR1; touch ready; while :; do sleep 0.02; done"
"""Listens for a checkpoint, and ends by itself once it has written it."""


async def test_a_stop_asks_for_a_checkpoint_first_those_who_listen_and_nobody_else(any_host: Host) -> None:
    # The outer shell has no handler: the signal would end it.
    job = spec("saver", f'sh -c "{SAVER}"; echo over', checkpoint_signal=signal.SIGUSR1, checkpoint_seconds=600)
    async with any_host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually((any_host.work_dir(job.key) / "ready").exists)
        await runner.converge({})
        status = await ended(runner, job.key)
    assert (status.outcome, status.exit_code) == (Outcome.STOPPED, 0)
    assert (any_host.work_dir(job.key) / "saved").exists()


async def test_a_job_whose_work_nothing_takes_up_is_stopped_without_a_checkpoint(any_host: Host) -> None:
    job = spec("cancelled", SAVER, checkpoint_signal=signal.SIGUSR1, checkpoint_seconds=600)
    async with any_host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually((any_host.work_dir(job.key) / "ready").exists)
        await runner.converge({}, at_once={job.allocation_id})
        status = await ended(runner, job.key)
    assert (status.outcome, status.signal) == (Outcome.STOPPED, signal.SIGTERM)
    assert not (any_host.work_dir(job.key) / "saved").exists()


@pytest.mark.parametrize("by_another_daemon", [False, True], ids=["one daemon", "the next daemon"])
async def test_a_checkpoint_ends_when_its_job_is_not_to_go_on_any_more(host: Host, by_another_daemon: bool) -> None:
    waits = "trap 'touch asked' USR1; touch ready; while :; do sleep 0.02; done"
    job = spec("regretted", waits, checkpoint_signal=signal.SIGUSR1, checkpoint_seconds=3600)
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually((host.work_dir(job.key) / "ready").exists)
        await runner.converge({})
        await eventually((host.work_dir(job.key) / "asked").exists)
        if not by_another_daemon:
            await runner.converge({}, at_once={job.allocation_id})
            status = await ended(runner, job.key)
    if by_another_daemon:
        async with host.daemon() as runner:
            await runner.converge({})
            assert not runner.statuses()[job.key].ended
            await runner.converge({}, at_once={job.allocation_id})
            status = await ended(runner, job.key)
    assert (status.outcome, status.signal) == (Outcome.STOPPED, signal.SIGTERM)


async def test_sigterm_comes_at_once_to_a_job_that_listens_for_no_checkpoint(host: Host) -> None:
    job = spec("deaf", "sleep 1000", checkpoint_signal=signal.SIGUSR1, checkpoint_seconds=600)
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        await runner.converge({})
        status = await ended(runner, job.key)
    assert (status.outcome, status.signal) == (Outcome.STOPPED, signal.SIGTERM)


async def test_a_checkpoint_that_takes_too_long_ends_in_sigterm_then_sigkill(host: Host) -> None:
    slow = "trap ': > asked' USR1; trap ': > terminated' TERM; touch ready; while :; do sleep 0.02; done"
    fields = {"checkpoint_signal": signal.SIGUSR1, "checkpoint_seconds": 0.5, "stop_grace_seconds": 2.0}
    job = spec("slow", slow, **fields)
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually((host.work_dir(job.key) / "ready").exists)
        await runner.converge({})
        status = await ended(runner, job.key)
    assert (status.outcome, status.signal) == (Outcome.STOPPED, signal.SIGKILL)
    assert {path.name for path in host.work_dir(job.key).iterdir()} >= {"asked", "terminated"}


async def test_neither_checkpoint_nor_grace_lasts_beyond_the_fence(tmp_path: Path) -> None:
    host = Host(tmp_path, fence_grace_seconds=0.1)
    fields = {"checkpoint_signal": signal.SIGUSR1, "checkpoint_seconds": 600, "stop_grace_seconds": 600}
    job = spec("late", "trap 'touch asked' USR1; trap '' TERM; touch ready; while :; do sleep 0.02; done", **fields)
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually((host.work_dir(job.key) / "ready").exists)
        runner.set_fence(boottime_seconds() + 600)
        await runner.converge({})
        await eventually((host.work_dir(job.key) / "asked").exists)
        other = spec("other", "sleep 1000")
        await runner.converge({other.key: other})
        await running(runner, other.key)
        runner.set_fence(boottime_seconds() + 0.2)
        assert (await ended(runner, other.key)).outcome is Outcome.FENCED
        status = await ended(runner, job.key)
    assert status.signal == signal.SIGKILL
