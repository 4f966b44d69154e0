"""What jobs may take of time, memory and processes."""

import os
import signal
from dataclasses import replace

import pytest

from node_agent.jobs.status import Outcome
from tests.node_agent.jobs.host import (
    Host,
    can_limit_memory,
    output,
    processes_of,
    spec,
)

MIB = 1024 * 1024


async def test_a_job_is_stopped_at_its_maximum_runtime(host: Host) -> None:
    job = spec("long", "sleep 1000", max_runtime_seconds=0.2)
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
    assert (status.outcome, status.signal) == (Outcome.TIMED_OUT, signal.SIGTERM)
    assert status.runtime_seconds >= 0.2
    assert "maximum" in status.message


@pytest.mark.skipif(not can_limit_memory(), reason="this machine does not let us make memory cgroups")
async def test_a_job_over_its_memory_limit_is_reported_as_out_of_memory(host: Host) -> None:
    hog = "import time; b = bytearray(200 << 20); time.sleep(60)"
    job = spec("hog", ("/usr/bin/env", "python3", "-c", hog), memory_limit_bytes=64 * MIB)
    job = replace(job, env={"PATH": os.environ["PATH"]})
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
    assert (status.outcome, status.oom_killed, status.signal) == (Outcome.OOM_KILLED, True, signal.SIGKILL)
    assert "memory" in status.limits_enforced
    assert status.peak_memory_bytes is not None
    assert 32 * MIB < status.peak_memory_bytes <= 64 * MIB
    assert f"{64 * MIB} bytes" in status.message


@pytest.mark.skipif(not can_limit_memory(), reason="this machine does not let us make cgroups")
async def test_the_process_limit_holds_a_fork_bomb(host: Host) -> None:
    bomb = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done"
    job = spec("bomb", bomb, pids_limit=20, cpu_limit_milli=500)
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
        text = await output(runner, job.key)
    assert {"pids", "cpu"} <= status.limits_enforced
    assert status.exit_code not in {0, None}
    assert b"annot fork" in text
    assert processes_of(job.key) == []
