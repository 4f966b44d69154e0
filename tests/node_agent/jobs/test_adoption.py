"""kill -9 of the daemon, of supervisors and of both: every job ends exactly once, and nothing is left."""

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import pytest

from node_agent.jobs import proc
from node_agent.jobs.directory import MemberDirectory, prepare
from node_agent.jobs.status import MemberState, Outcome
from tests.node_agent.jobs.host import (
    CAP_SYS_ADMIN,
    Host,
    ended,
    eventually,
    has_capability,
    kill_daemon,
    kill_supervisor,
    outcomes_of_sigkill,
    output,
    processes_of,
    processes_with_argument,
    running,
    spec,
    supervisor_pid,
    wipe,
)


async def test_a_job_goes_on_without_its_daemon_and_the_next_one_sees_it_end(any_host: Host) -> None:
    job = spec("orphan", "echo before; while [ ! -e $HOME/go ]; do sleep 0.02; done; echo after; exit 7")
    daemon = any_host.daemon_process(job)
    directory = MemberDirectory(any_host.settings.jobs_dir / str(job.key))
    await eventually(lambda: (directory.read_status() or {}).get("state") == "running")
    kill_daemon(daemon)
    async with any_host.daemon() as runner:
        adopted = runner.statuses()[job.key]
        await runner.converge({job.key: job})
        (any_host.work_dir(job.key) / "go").touch()
        status = await ended(runner, job.key)
        text = await output(runner, job.key)
    assert adopted.state is MemberState.RUNNING
    assert adopted.pid == status.pid
    assert (status.outcome, status.exit_code) == (Outcome.EXITED, 7)
    assert text == b"before\nafter\n"


async def test_what_ended_while_no_daemon_ran_is_reported_with_exit_code_and_log(any_host: Host) -> None:
    job = spec("meanwhile", "echo some words; kill -9 $$")
    oom_kills = proc.kernel_oom_kills()
    daemon = any_host.daemon_process(job)
    kill_daemon(daemon)
    directory = MemberDirectory(any_host.settings.jobs_dir / str(job.key))
    await eventually(lambda: (directory.read_status() or {}).get("state") == "ended")
    async with any_host.daemon() as runner:
        status = runner.statuses()[job.key]
        text = await output(runner, job.key)
    assert status.outcome in outcomes_of_sigkill(oom_kills)
    assert status.signal == signal.SIGKILL
    assert text == b"some words\n"


async def test_a_stop_asked_of_a_new_daemon_reaches_a_job_of_the_old_one(any_host: Host) -> None:
    job = spec("handover", "sleep 1000")
    daemon = any_host.daemon_process(job)
    kill_daemon(daemon)
    async with any_host.daemon() as runner:
        await runner.converge({})
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.STOPPED


async def test_a_killed_supervisor_takes_its_whole_job_with_it(any_host: Host) -> None:
    mark = f"6{os.getpid()}.25"
    job = spec("lost", f"setsid sleep {mark} & sleep {mark}", gpu_uuids=("GPU-1",))
    async with any_host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: len(processes_with_argument(mark)) == 2)
        await eventually(lambda: runner.statuses()[job.key].state is MemberState.RUNNING)
        os.kill(supervisor_pid(any_host, job.key), signal.SIGKILL)
        status = await ended(runner, job.key)
        assert processes_with_argument(mark) == []
        assert runner.active_gpu_uuids() == {}
        await runner.converge({job.key: job})
        assert runner.statuses()[job.key] == status
    assert status.outcome is Outcome.SUPERVISOR_LOST
    assert status.runtime_seconds > 0
    assert "run it again" in status.message


@pytest.mark.skipif(not has_capability(CAP_SYS_ADMIN), reason="this process may not make process namespaces")
async def test_a_job_in_a_namespace_dies_with_its_supervisor_even_without_a_daemon(host: Host) -> None:
    """In a namespace of its own, a job dies with its supervisor by the kernel's hand alone."""
    mark = f"5{os.getpid()}.25"
    job = spec("alone", f"(env -i setsid sleep {mark} &) ; sleep {mark}")
    daemon = host.daemon_process(job)
    await eventually(lambda: len(processes_with_argument(mark)) == 2)
    kill_daemon(daemon)
    os.kill(supervisor_pid(host, job.key), signal.SIGKILL)
    await eventually(lambda: processes_with_argument(mark) == [])


async def test_daemon_and_supervisor_killed_together_are_cleaned_up_by_the_next_daemon(any_host: Host) -> None:
    mark = f"4{os.getpid()}.25"
    job = spec("both", f"setsid sleep {mark} & sleep {mark}")
    daemon = any_host.daemon_process(job)
    await eventually(lambda: len(processes_with_argument(mark)) == 2)
    daemon.kill()
    os.kill(supervisor_pid(any_host, job.key), signal.SIGKILL)
    kill_daemon(daemon)
    async with any_host.daemon() as runner:
        await runner.converge({job.key: job})
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.SUPERVISOR_LOST
    assert processes_with_argument(mark) == []


@pytest.mark.skipif(not has_capability(CAP_SYS_ADMIN), reason="this process may not make process namespaces")
async def test_a_member_of_an_earlier_boot_is_reported_lost(host: Host) -> None:
    job = spec("boot", "sleep 1000")
    daemon = host.daemon_process(job)
    await eventually(lambda: processes_of(job.key) != [])
    kill_daemon(daemon)
    os.kill(supervisor_pid(host, job.key), signal.SIGKILL)
    await eventually(lambda: processes_of(job.key) == [])
    for name, field in (("spec.json", "plan"), ("supervisor.json", None)):
        path = host.settings.jobs_dir / str(job.key) / name
        document = json.loads(path.read_text())
        (document[field] if field else document)["boot_id"] = "another"
        path.write_text(json.dumps(document))
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.SUPERVISOR_LOST
    assert "host restarted" in status.message


async def test_a_daemon_killed_before_the_supervisor_started_leaves_a_member_to_start_once(host: Host) -> None:
    wanted, unwanted = spec("wanted", "echo ran"), spec("unwanted", "echo ran")
    host.settings.jobs_dir.mkdir(parents=True)
    for job in (wanted, unwanted):
        prepare(job, host.settings)
    (host.settings.jobs_dir / ".new-a-half.0").mkdir()
    async with host.daemon() as runner:
        await runner.converge({wanted.key: wanted})
        status = await ended(runner, wanted.key)
        other = runner.statuses()[unwanted.key]
        assert await output(runner, wanted.key) == b"ran\n"
    assert status.succeeded
    assert other.outcome is Outcome.STOPPED
    assert not (host.settings.jobs_dir / ".new-a-half.0").exists()


async def test_a_supervisor_that_crashes_is_explained_by_its_last_words(host: Host) -> None:
    job = spec("crash", "true")
    host.settings.jobs_dir.mkdir(parents=True)
    path = prepare(job, host.settings).path / "spec.json"
    document = json.loads(path.read_text())
    del document["plan"]["argv"]
    path.write_text(json.dumps(document))
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.SUPERVISOR_LOST
    assert "KeyError: 'argv'" in status.message


async def test_a_member_whose_specification_was_destroyed_is_killed_and_never_started_again(any_host: Host) -> None:
    mark = f"9{os.getpid()}.25"
    job = spec("rubbish", f"echo '{{' > ../spec.json; touch again$(ls); sleep {mark}")
    daemon = any_host.daemon_process(job)
    await eventually(lambda: processes_with_argument(mark) != [])
    kill_daemon(daemon)
    async with any_host.daemon() as runner:
        assert processes_with_argument(mark) == []
        await runner.converge({job.key: job})
        assert runner.statuses()[job.key].outcome is Outcome.SUPERVISOR_LOST
    assert [path.name for path in any_host.work_dir(job.key).iterdir()] == ["again"]


async def test_a_supervisor_that_ends_as_it_is_about_to_be_killed_keeps_no_daemon_from_its_start(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = host.settings.jobs_dir / str(spec("ending", "true").key)
    directory.mkdir(parents=True)
    (directory / "spec.json").write_text("{")
    ended_by_now = {"pid": 2**22 + 1, "start_time": "1", "boot_id": proc.boot_id()}  # no process has such an id
    (directory / "supervisor.json").write_text(json.dumps(ended_by_now))
    monkeypatch.setattr(proc, "is_alive", lambda _pid, _started: True)  # when it was looked at
    async with host.daemon() as runner:
        assert runner.statuses() == {}


async def test_a_job_whose_directory_was_deleted_while_no_daemon_ran_is_killed_and_not_started_beside_itself(
    any_host: Host,
) -> None:
    mark = f"6{os.getpid()}.25"
    job = spec("wiped", f"sleep {mark}")
    daemon = any_host.daemon_process(job)
    await eventually(lambda: processes_with_argument(mark) != [])
    kill_daemon(daemon)
    wipe(any_host.settings.jobs_dir)
    async with any_host.daemon() as runner:
        assert processes_with_argument(mark) == []
        await runner.converge({job.key: job})
        assert runner.statuses()[job.key].outcome is Outcome.SUPERVISOR_LOST
        assert processes_with_argument(mark) == []


async def test_kills_at_random_points_leave_every_job_ended_once_and_no_process(any_host: Host, tmp_path: Path) -> None:
    chance = random.Random(20)
    book = tmp_path / "book"
    mark = f"0.3{os.getpid()}"
    jobs = [spec(f"r-{n}", f"echo start {n} >> {book}; setsid sleep {mark}; exit {n % 4}") for n in range(12)]
    wanted = {job.key: job for job in jobs}
    for _ in range(6):
        daemon = any_host.daemon_process(*jobs, wait=False)
        await asyncio.sleep(chance.uniform(0.15, 0.45))  # the random point itself
        if chance.random() < 0.7:
            victim = MemberDirectory(any_host.settings.jobs_dir / str(chance.choice(jobs).key))
            kill_supervisor(victim)
        kill_daemon(daemon)
    async with any_host.daemon() as runner:
        await runner.converge(wanted)
        found = {job.key: await ended(runner, job.key) for job in jobs}
        await runner.converge(wanted)
        assert {key: runner.statuses()[key] for key in wanted} == found
    starts = book.read_text().splitlines()
    assert len(starts) == len(set(starts))
    for number, job in enumerate(jobs):
        status = found[job.key]
        assert status.outcome in {Outcome.EXITED, Outcome.SUPERVISOR_LOST}
        if status.outcome is Outcome.EXITED:
            assert status.exit_code == number % 4
            assert f"start {number}" in starts
    assert sum(status.outcome is Outcome.EXITED for status in found.values()) >= 6
    assert processes_with_argument(mark) == []
    assert all(processes_of(job.key) == [] for job in jobs)


async def test_a_daemon_that_leaves_in_order_leaves_its_jobs_running(host: Host) -> None:
    job = spec("stays", "sleep 1000")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        pid = (await running(runner, job.key)).pid
    async with host.daemon() as runner:
        assert runner.statuses()[job.key].pid == pid
        await runner.converge({})
        await ended(runner, job.key)


@pytest.mark.parametrize(
    "scribble",
    [
        "{",
        "[]",
        '{"state": "ended", "outcome": "exited", "exit_code": "x"}',
        '{"state": "won"}',
        '{"state":"ended","pid":1e999}',
    ],
)
async def test_a_job_that_scribbles_on_its_status_cannot_hurt_the_daemon(host: Host, scribble: str) -> None:
    job = spec("scribble", f"cd ..; echo '{scribble}' > status.json; touch work/done; sleep 1000")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually((host.work_dir(job.key) / "done").exists)
        runner._attendant.mark(job.key)
        os.kill(supervisor_pid(host, job.key), signal.SIGKILL)
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.SUPERVISOR_LOST


async def test_nothing_is_left_of_a_job_whose_directory_and_supervisor_are_gone_while_its_daemon_runs(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path, isolate_pids=False, cgroup_parent=None)
    mark = f"7{os.getpid()}.25"
    job = spec("swept", f"setsid sleep {mark}")
    try:
        async with host.daemon() as runner:
            await runner.converge({job.key: job})
            await eventually(lambda: processes_with_argument(mark) != [])
            pid = supervisor_pid(host, job.key)
            wipe(host.settings.jobs_dir / str(job.key))
            os.kill(pid, signal.SIGKILL)
            assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
            assert processes_with_argument(mark) == []
    finally:
        host.clean_up()


async def test_a_job_that_deletes_its_own_directory_is_reported_lost(host: Host) -> None:
    deletes = "until [ -e go ]; do sleep 0.02; done; cd /; rm -rf $(dirname $HOME); exit 0"
    job = spec("vandal", deletes, gpu_uuids=("GPU-1",))
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)  # its supervisor has written all that it writes before the end
        (host.work_dir(job.key) / "go").touch()
        status = await ended(runner, job.key)
        assert runner.active_gpu_uuids() == {}
        await runner.converge({job.key: job})
        assert runner.statuses()[job.key] == status
    assert status.outcome is Outcome.SUPERVISOR_LOST
    assert "deleted" in status.message
