"""Jobs as real processes: how they start, stop, end, and what they may not do."""

import asyncio
import fcntl
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.jobs.proc import kernel_oom_kills
from node_agent.jobs.runner import StateDirectoryBusyError
from node_agent.jobs.status import MemberState, Outcome, rejected
from tests.node_agent.jobs.host import (
    CAP_SETUID,
    Host,
    ended,
    eventually,
    has_capability,
    outcomes_of_sigkill,
    output,
    processes_of,
    processes_with_argument,
    running,
    spec,
    until,
)

# Signals 32 and 33 are the C library's own: no program can set them, so who started the tests decides.
_C_LIBRARY_SIGNALS = 0b11 << 31


async def test_exit_codes_and_signals_are_reported_as_they_were(any_host: Host) -> None:
    jobs = [spec(f"code-{code}", f"exit {code}") for code in (0, 1, 255)]
    jobs += [spec(f"signal-{number}", f"kill -{number} $$") for number in (6, 9, 15)]
    oom_kills = kernel_oom_kills()
    async with any_host.daemon() as runner:
        found = await any_host.run(runner, *jobs)
    results = {s.job_id: (s.outcome, s.exit_code, s.signal, s.succeeded) for s in found.values()}
    by_kill = results.pop("j-signal-9")
    assert by_kill[0] in outcomes_of_sigkill(oom_kills)
    assert by_kill[1:] == (None, 9, False)
    assert results == {
        "j-code-0": (Outcome.EXITED, 0, None, True),
        "j-code-1": (Outcome.EXITED, 1, None, False),
        "j-code-255": (Outcome.EXITED, 255, None, False),
        "j-signal-6": (Outcome.SIGNALED, None, 6, False),
        "j-signal-15": (Outcome.SIGNALED, None, 15, False),
    }


async def test_a_status_has_times_gpu_seconds_and_peak_memory(host: Host) -> None:
    job = spec("figures", "sleep 0.2", gpu_uuids=("GPU-1", "GPU-2"), gpus_per_node=2)
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
    assert status.started_at is not None
    assert status.ended_at is not None
    assert status.ended_at >= status.started_at
    assert status.runtime_seconds >= 0.2
    assert status.gpu_seconds == pytest.approx(2 * status.runtime_seconds)
    assert status.peak_memory_bytes is not None
    assert status.peak_memory_bytes > 0


async def test_a_command_that_cannot_start_says_what_to_do(any_host: Host) -> None:
    missing = spec("missing", ("no-such-program", "--flag"))
    forbidden = spec("forbidden", ("/etc/passwd",))
    nowhere = spec("nowhere", "true", working_dir="/no/such/place")
    async with any_host.daemon() as runner:
        found = await any_host.run(runner, missing, forbidden, nowhere)
    assert {status.outcome for status in found.values()} == {Outcome.START_FAILED}
    assert "'no-such-program' (searched /usr/local/sbin" in found[missing.key].message
    assert "Permission denied" in found[forbidden.key].message
    assert "/no/such/place" in found[nowhere.key].message
    assert "create it" in found[nowhere.key].message


async def test_nothing_of_the_daemons_environment_reaches_a_job(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    job = spec("env", "env; tr '\\0' '\\n' < /proc/1/environ", env={"MINE": "yes", "ORQUANTA_JOB_ID": "j-forged"})
    async with host.daemon() as runner:
        await host.run(runner, job)
        text = (await output(runner, job.key)).decode()
    assert "hunter2" not in text
    assert "MINE=yes" in text
    assert "ORQUANTA_JOB_ID=j-env" in text


async def test_a_job_inherits_no_descriptors_and_starts_with_default_signals(any_host: Host) -> None:
    job = spec("clean", "ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)' /proc/self/status; readlink /proc/self/fd/0")
    async with any_host.daemon() as runner:
        await any_host.run(runner, job)
        lines = (await output(runner, job.key)).decode().split()
    ignored = int(lines.pop(4), 16) & ~_C_LIBRARY_SIGNALS
    assert ignored == 0
    assert lines == ["4", "SigBlk:", "0" * 16, "SigIgn:", "/dev/null"]


async def test_stop_kills_a_tree_that_ignores_sigterm_with_all_that_hid_from_it(any_host: Host) -> None:
    mark = f"8{os.getpid()}.25"
    hidden = (
        f"trap '' TERM; setsid sh -c \"trap '' TERM; (sleep {mark} &) ; sleep {mark}\" & env -i setsid sleep {mark} & "
    )
    job = spec("stubborn", f"trap '' TERM; {hidden} while :; do sleep {mark}; done", stop_grace_seconds=0.3)
    async with any_host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: len(processes_with_argument(mark)) >= 4)
        await runner.converge({})
        status = await ended(runner, job.key)
    assert (status.outcome, status.signal) == (Outcome.STOPPED, signal.SIGKILL)
    assert processes_with_argument(mark) == []
    assert processes_of(job.key) == []


async def test_what_a_job_leaves_behind_is_killed_when_it_exits(any_host: Host) -> None:
    mark = f"7{os.getpid()}.25"
    job = spec("litter", f"setsid sleep {mark} & (env -i setsid sleep {mark} &); sleep 0.2; exit 5")
    async with any_host.daemon() as runner:
        status = (await any_host.run(runner, job))[job.key]
    assert (status.outcome, status.exit_code) == (Outcome.EXITED, 5)
    assert processes_with_argument(mark) == []


async def test_stop_leaves_the_whole_tree_its_grace_even_when_the_shell_is_gone(any_host: Host) -> None:
    saver = "trap 'sleep 0.2; touch saved; exit 0' TERM; touch ready; while :; do sleep 0.02; done"
    job = spec("saver", f'sh -c "{saver}" & wait', stop_grace_seconds=30.0)
    async with any_host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually((any_host.work_dir(job.key) / "ready").exists)
        await runner.converge({})
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.STOPPED
    assert status.runtime_seconds < job.stop_grace_seconds
    assert (any_host.work_dir(job.key) / "saved").exists()


async def test_parts_of_one_gpu_run_side_by_side_and_a_whole_one_waits(host: Host) -> None:
    gpu = {"gpu_uuids": ("GPU-1",)}
    parts = [spec(name, "sleep 1000", gpu_milli=400, **gpu) for name in ("one", "two")]
    whole = spec("whole", "sleep 1000", **gpu)
    async with host.daemon() as runner:
        await runner.converge({job.key: job for job in (*parts, whole)})
        for part in parts:
            await running(runner, part.key)
        assert "still holds GPU-1" in runner.statuses()[whole.key].message
        await runner.converge({})
        ends = [await ended(runner, part.key) for part in parts]
    assert all(end.gpu_seconds == pytest.approx(end.runtime_seconds * 0.4) for end in ends)


async def test_an_acknowledged_end_is_told_again_when_the_control_plane_wants_the_member_still(host: Host) -> None:
    job = spec("forgotten", "echo once >> $HOME/../../runs; exit 3")
    async with host.daemon() as runner:
        await host.run(runner, job)
        await runner.acknowledge(job.key)
        assert runner.statuses()[job.key].acknowledged
    async with host.daemon() as runner:
        told = runner.changes()
        assert (await anext(told)).acknowledged
        await runner.converge({job.key: job})
        again = await anext(told)
        await told.aclose()
        assert (again.acknowledged, again.outcome, again.exit_code) == (False, Outcome.EXITED, 3)
        await runner.acknowledge(job.key)
        assert runner.statuses()[job.key].acknowledged
    assert (host.settings.jobs_dir / "runs").read_text() == "once\n"


async def test_a_member_is_never_started_twice(host: Host) -> None:
    job = spec("once", "echo ran >> $HOME/../../../runs")
    runs = host.settings.state_dir / "runs"
    async with host.daemon() as runner:
        await host.run(runner, job)
        await runner.converge({job.key: job})
        await runner.converge({})
        await runner.converge({job.key: job})
        assert runner.statuses()[job.key].ended
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        assert runner.statuses()[job.key].succeeded
    assert runs.read_text() == "ran\n"


async def test_a_forgotten_member_is_not_started_again_even_by_a_later_daemon(host: Host) -> None:
    small = Host(host.settings.state_dir, retained_members=1, cgroup_parent="/orquanta-test")
    jobs = [spec(f"many-{number}", "echo ran >> $HOME/../../../runs") for number in range(3)]
    async with small.daemon() as runner:
        for job in jobs:
            await small.run(runner, job)
            await runner.acknowledge(job.key)
        await runner.converge({})
        await runner.acknowledge(jobs[0].key)
        kept = set(runner.statuses())
        await runner.converge({job.key: job for job in jobs})
    assert len(kept) < 3
    assert {path.name for path in small.settings.jobs_dir.glob("a-*")} == {str(key) for key in kept}
    async with small.daemon() as runner:
        await runner.converge({job.key: job for job in jobs})
        again = runner.statuses()
    assert {key for key, status in again.items() if status.outcome is Outcome.EXITED} == kept
    assert all(status.ended for status in again.values())
    assert (small.settings.state_dir / "runs").read_text() == "ran\n" * 3


async def test_a_member_waits_for_its_gpus_and_for_the_older_attempt_of_its_job(host: Host) -> None:
    first = spec("first", "trap '' TERM; sleep 1000", gpu_uuids=("GPU-1",), stop_grace_seconds=0.3)
    same_gpu = spec("gpu", "true", gpu_uuids=("GPU-1", "GPU-2"))
    same_job = replace(spec("attempt", "true"), job_id=first.job_id, epoch=2)
    async with host.daemon() as runner:
        await runner.converge({first.key: first})
        await running(runner, first.key)
        assert runner.active_gpu_uuids() == {"GPU-1": first.key}
        await runner.converge({same_gpu.key: same_gpu, same_job.key: same_job})
        assert f"{first.key} still holds GPU-1" in runner.statuses()[same_gpu.key].message
        assert "another attempt" in runner.statuses()[same_job.key].message
        begun = [await until(runner, job.key, lambda s: s.succeeded) for job in (same_gpu, same_job)]
        gone = runner.statuses()[first.key]
    assert gone.ended_at is not None
    assert all(status.started_at is not None and status.started_at >= gone.ended_at for status in begun)


async def test_a_member_that_waits_and_is_no_longer_wanted_ends_as_stopped(host: Host) -> None:
    first = spec("holder", "sleep 1000", gpu_uuids=("GPU-1",))
    second = spec("waiter", "touch ran", gpu_uuids=("GPU-1",))
    async with host.daemon() as runner:
        await runner.converge({first.key: first, second.key: second})
        await runner.converge({first.key: first})
        status = runner.statuses()[second.key]
        await runner.converge({})
        await ended(runner, first.key)
    assert (status.state, status.outcome) == (MemberState.ENDED, Outcome.STOPPED)


async def test_a_refused_specification_is_reported_until_it_is_acknowledged(host: Host) -> None:
    job = spec("bad", "touch ran")
    key = job.key
    async with host.daemon() as runner:
        refusal = rejected(key, job.job_id, 1, "env is not allowed", runner._clock.now())
        await runner.converge({}, [refusal])
        assert runner.statuses()[key] == refusal
        await runner.acknowledge(key)
        await runner.converge({key: job})
        assert "not started again" in runner.statuses()[key].message
    assert not host.work_dir(key).exists()


async def test_many_members_run_side_by_side(host: Host) -> None:
    jobs = [spec(f"n-{number}", f"echo {number}; exit {number % 3}") for number in range(24)]
    async with host.daemon() as runner:
        found = await host.run(runner, *jobs)
    assert [found[job.key].exit_code for job in jobs] == [number % 3 for number in range(24)]


async def test_a_second_daemon_with_the_same_state_directory_is_refused(host: Host) -> None:
    async with host.daemon():
        with pytest.raises(StateDirectoryBusyError, match="another daemon"):
            await Host(host.settings.state_dir).daemon().__aenter__()


async def test_a_directory_that_a_daemon_before_still_holds_for_a_moment_is_taken_over(host: Host) -> None:
    """A process that the daemon before was just starting has its lock until it has become another program."""
    host.settings.jobs_dir.mkdir(parents=True)
    held = (host.settings.jobs_dir / "daemon.lock").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    asyncio.get_running_loop().call_later(0.1, held.close)
    async with host.daemon() as runner:
        assert runner.statuses() == {}
    assert held.closed


@pytest.fixture
def open_host() -> Iterator[Host]:
    """A host whose state directory another user can enter, and where jobs run as that user."""
    if not has_capability(CAP_SETUID):
        pytest.skip("this process may not change users")
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o711)
        made = Host(Path(path) / "state", run_as=(65534, 65534), cgroup_parent="/orquanta-test")
        yield made
        made.clean_up()


async def test_a_job_can_run_as_another_user_who_cannot_read_its_specification(open_host: Host) -> None:
    job = spec("nobody", "id -u; id -G; touch mine; cat ../spec.json")
    async with open_host.daemon() as runner:
        await open_host.run(runner, job)
        text = (await output(runner, job.key)).decode()
    assert "65534\n65534\n" in text  # two pipes: what was written first may come second
    assert "Permission denied" in text
    assert (open_host.work_dir(job.key) / "mine").stat().st_uid == 65534
