"""Daemons of several state directories on one host, whose members have equal names: none touches another one's."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node_agent.jobs.directory import MemberDirectory, prepare
from node_agent.jobs.spec import MemberSpec
from node_agent.jobs.status import Outcome
from node_agent.jobs.supervisor.cgroups import mounts
from tests.node_agent.jobs.host import (
    Host,
    can_limit_memory,
    ended,
    eventually,
    kill_daemon,
    kill_supervisor,
    processes_of,
    processes_with_argument,
    running,
    spec,
    supervisor_pid,
    wipe,
)

MIB = 1024 * 1024
PARENT = "/orquanta-test"
needs_cgroups = pytest.mark.skipif(not can_limit_memory(), reason="this machine does not let us make memory cgroups")


@pytest.fixture
def neighbours(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts in one, with the same parent of all cgroups and no process namespaces."""
    made = tuple(Host(tmp_path / name, isolate_pids=False, cgroup_parent=PARENT) for name in ("mine", "theirs"))
    yield made[0], made[1]
    for host in made:
        host.clean_up()


def memory_limit(pid: int) -> int:
    """The bytes that the kernel holds a process's memory cgroup to."""
    names = {"memory": "memory.limit_in_bytes", "": "memory.max"}
    found = mounts()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controller, path = line.split(":", 2)
        mount = found.get(controller or "unified")
        file = Path(f"{mount}{path}") / names.get(controller, "none")
        if PARENT in path and file.exists():
            return int(file.read_text())
    raise AssertionError(f"process {pid} is in no memory cgroup of a member")


def prepare_as_an_older_daemon(host: Host, job: MemberSpec) -> None:
    """Leave the member to be started as a daemon did whose members' cgroups had their names alone."""
    host.settings.jobs_dir.mkdir(parents=True)
    path = prepare(job, host.settings).path / "spec.json"
    document = json.loads(path.read_text())
    del document["plan"]["cgroup_name"]
    path.write_text(json.dumps(document))


def left_cgroups(job: MemberSpec) -> list[Path]:
    return [path for mount in mounts().values() for path in Path(mount + PARENT).glob(f"{job.key}*")]


async def test_a_daemon_kills_no_job_of_another_one_on_its_host_that_names_its_member_alike(tmp_path: Path) -> None:
    mine, theirs = (Host(tmp_path / name, isolate_pids=False, cgroup_parent=None) for name in ("mine", "theirs"))
    job = spec("twin", "sleep 1000")
    try:
        async with mine.daemon() as runner, theirs.daemon() as other:
            for one in (runner, other):
                await one.converge({job.key: job})
                await running(one, job.key)
            os.kill(supervisor_pid(mine, job.key), signal.SIGKILL)
            assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
            assert other.statuses()[job.key].pid in processes_of(job.key)
            await other.converge({})
            assert (await ended(other, job.key)).outcome is Outcome.STOPPED
    finally:
        mine.clean_up()
        theirs.clean_up()


@needs_cgroups
async def test_a_daemon_neither_limits_nor_kills_by_cgroups_what_another_one_runs(
    neighbours: tuple[Host, Host],
) -> None:
    mine, theirs = neighbours
    job = spec("namesake", "sleep 1000", memory_limit_bytes=64 * MIB)
    larger = spec("namesake", "sleep 1000", memory_limit_bytes=128 * MIB)
    async with theirs.daemon() as other, mine.daemon() as runner:
        await other.converge({job.key: job})
        pid = (await running(other, job.key)).pid
        await runner.converge({job.key: larger})
        own = (await running(runner, job.key)).pid
        assert pid is not None
        assert own is not None
        assert (memory_limit(pid), memory_limit(own)) == (64 * MIB, 128 * MIB)
        os.kill(supervisor_pid(mine, job.key), signal.SIGKILL)
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
        assert pid in processes_of(job.key)
        await other.converge({})
        assert (await ended(other, job.key)).outcome is Outcome.STOPPED
    assert left_cgroups(job) == []


@needs_cgroups
async def test_what_two_older_daemons_left_in_one_cgroup_is_told_apart_by_its_marks(
    neighbours: tuple[Host, Host],
) -> None:
    mine, theirs = neighbours
    job = spec("shared", "sleep 1000")
    for host in neighbours:
        prepare_as_an_older_daemon(host, job)
    async with theirs.daemon() as other, mine.daemon() as runner:
        for one in (runner, other):
            await one.converge({job.key: job})
            await running(one, job.key)
        assert len(left_cgroups(job)) <= len(mounts())
        os.kill(supervisor_pid(mine, job.key), signal.SIGKILL)
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
        assert other.statuses()[job.key].pid in processes_of(job.key)
        await other.converge({})
        assert (await ended(other, job.key)).outcome is Outcome.STOPPED


def lose_supervisor(host: Host, job: MemberSpec) -> None:
    kill_supervisor(MemberDirectory(host.settings.jobs_dir / str(job.key)))


def lose_directory(host: Host, job: MemberSpec) -> None:
    wipe(host.settings.jobs_dir)


def lose_specification(host: Host, job: MemberSpec) -> None:
    (host.settings.jobs_dir / str(job.key) / "spec.json").write_text("{")


@needs_cgroups
@pytest.mark.parametrize("lose", [lose_supervisor, lose_directory, lose_specification])
@pytest.mark.parametrize("prepared_by", ["this", "older"])
async def test_a_daemon_finds_by_its_cgroups_what_hides_of_its_members_even_an_older_daemons(
    neighbours: tuple[Host, Host], prepared_by: str, lose: Callable[[Host, MemberSpec], None]
) -> None:
    host, _ = neighbours
    mark = f"3{os.getpid()}.25"
    job = spec("hidden", f"(env -i setsid sleep {mark} &); sleep {mark}")
    if prepared_by == "older":
        prepare_as_an_older_daemon(host, job)
    daemon = host.daemon_process(job)
    await eventually(lambda: len(processes_with_argument(mark)) == 2)
    kill_daemon(daemon)
    lose(host, job)
    async with host.daemon() as runner:
        await eventually(lambda: processes_with_argument(mark) == [])
        await runner.converge({job.key: job})
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
    assert left_cgroups(job) == []
