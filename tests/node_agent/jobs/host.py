"""A host to run jobs on, and ways to look at what is left of them."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from node_agent.clock import SystemClock
from node_agent.jobs.directory import MemberDirectory
from node_agent.jobs.environment import MARKER, cgroup_name
from node_agent.jobs.proc import all_pids, environment_entries, kernel_oom_kills, start_time
from node_agent.jobs.runner import JobRunner
from node_agent.jobs.settings import RunnerSettings
from node_agent.jobs.spec import MemberKey, MemberSpec
from node_agent.jobs.status import MemberState, MemberStatus, Outcome
from node_agent.jobs.supervisor.cgroups import Cgroup

PATIENCE_SECONDS = 30.0
DEFAULTS = {"stop_grace_seconds": 30.0}

DAEMON = """
import asyncio, json, sys
from pathlib import Path
import structlog
from node_agent.clock import SystemClock
from node_agent.jobs.container import ContainerSettings
from node_agent.jobs.runner import JobRunner
from node_agent.jobs.settings import RunnerSettings
from node_agent.jobs.spec import MemberSpec

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    options = json.loads(sys.argv[2])
    if "container" in options:
        options["container"] = ContainerSettings(**options["container"])
    specs = [MemberSpec.from_json(raw) for raw in json.loads(sys.argv[3])]
    async with JobRunner(RunnerSettings(Path(sys.argv[1]), **options), SystemClock()) as runner:
        await runner.converge({spec.key: spec for spec in specs})
        print("converged", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def spec(name: str, command: str | tuple[str, ...], **fields: Any) -> MemberSpec:  # any field of a specification
    """A member of an allocation and a job named after it, alone in its gang.

    No other process of tests names a member so: what is left of one is looked for by its name, wherever it is.
    """
    return MemberSpec(
        f"a-{name}-{os.getpid()}", f"j-{name}", 1, command=command, **{"rank": 0, "world": 1, **DEFAULTS, **fields}
    )


class Host:
    """One state directory, on which daemons come and go."""

    def __init__(self, state_dir: Path, **options: Any) -> None:  # any field of the settings
        self.options = {"log_segment_bytes": 1024 * 1024, **options}
        self.settings = RunnerSettings(state_dir, **self.options)
        self._daemons: list[subprocess.Popen[bytes]] = []

    @contextlib.asynccontextmanager
    async def daemon(self) -> AsyncIterator[JobRunner]:
        async with JobRunner(self.settings, SystemClock()) as runner:
            yield runner

    def daemon_process(self, *specs: MemberSpec, wait: bool = True) -> subprocess.Popen[bytes]:
        """A daemon that can be killed, with these members wanted; with `wait` returns when it has started them."""
        documents = json.dumps([spec.to_json() for spec in specs])
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                DAEMON,
                str(self.settings.state_dir),
                json.dumps(self.options, default=asdict),
                documents,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._daemons.append(process)
        if wait:
            assert process.stdout is not None
            assert process.stdout.readline() == b"converged\n"
        return process

    def work_dir(self, key: MemberKey) -> Path:
        return self.settings.jobs_dir / str(key) / "work"

    async def run(self, runner: JobRunner, *specs: MemberSpec) -> dict[MemberKey, MemberStatus]:
        """Run members to their end."""
        await runner.converge({spec.key: spec for spec in specs})
        return {spec.key: await ended(runner, spec.key) for spec in specs}

    def clean_up(self) -> None:
        """Kill what a failed test left."""
        for process in self._daemons:
            kill_daemon(process)
        for path in self.settings.jobs_dir.glob("a-*.*"):
            kill_processes_of(path.name)
            kill_supervisor(MemberDirectory(path))
            if self.settings.cgroup_parent is not None:
                for name in (path.name, cgroup_name(path.name, self.settings.jobs_dir)):
                    Cgroup.find(self.settings.cgroup_parent, name).remove()
        shutil.rmtree(self.settings.state_dir, ignore_errors=True)


def kill_daemon(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


async def until(runner: JobRunner, key: MemberKey, reached: Callable[[MemberStatus], bool]) -> MemberStatus:
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with contextlib.aclosing(runner.changes()) as changes:
            async for status in changes:
                if status.key == key and reached(status):
                    return status
    raise AssertionError("the feed ended")


async def ended(runner: JobRunner, key: MemberKey) -> MemberStatus:
    return await until(runner, key, lambda status: status.ended)


async def running(runner: JobRunner, key: MemberKey) -> MemberStatus:
    return await until(runner, key, lambda status: status.state is MemberState.RUNNING)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(0.005)


async def output(runner: JobRunner, key: MemberKey) -> bytes:
    """All that an ended member wrote."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return b"".join([chunk.data async for chunk in runner.logs.follow(key)])


def wipe(directory: Path) -> None:
    """Delete a directory at once, whoever is about to write into it: to that one, it is gone as a whole."""
    aside = directory.with_name(f".gone-{directory.name}")
    directory.rename(aside)
    shutil.rmtree(aside)


def processes_of(key: MemberKey | str) -> list[int]:
    """The live processes that carry a member's mark."""
    entry = f"{MARKER}={key}".encode()
    return [pid for pid in all_pids() if entry in environment_entries(pid) and start_time(pid) is not None]


def kill_processes_of(key: MemberKey | str) -> None:
    """Kill them; they may be about to end with their supervisor."""
    for pid in processes_of(key):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_supervisor(directory: MemberDirectory) -> None:
    """Kill the supervisor of a member, if there is one; it may be about to end with its job."""
    supervisor = directory.read_supervisor()
    if supervisor is not None and supervisor.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor.pid, signal.SIGKILL)


def processes_with_argument(text: str) -> list[int]:
    """The live processes with an argument that nothing else on the machine has."""
    found = []
    for pid in all_pids():
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if text.encode() in arguments and start_time(pid) is not None:
                found.append(pid)
    return found


def supervisor_pid(host: Host, key: MemberKey) -> int:
    supervisor = MemberDirectory(host.settings.jobs_dir / str(key)).read_supervisor()
    assert supervisor is not None
    return supervisor.pid


def outcomes_of_sigkill(oom_kills_before: int) -> set[Outcome]:
    """Return how a job may have ended that was sent SIGKILL after the kernel's count of kills for memory was read.

    Of a job without a cgroup of its own nothing tells that the kernel, which has killed meanwhile, has killed another.
    """
    others = {Outcome.OOM_KILLED} if kernel_oom_kills() > oom_kills_before else set()
    return {Outcome.SIGNALED} | others


CAP_SETUID, CAP_SYS_ADMIN = 7, 21


def has_capability(number: int) -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)


def can_limit_memory() -> bool:
    group = Cgroup.create("/orquanta-test", f"probe-{os.getpid()}", {"memory_bytes": 64 * 1024 * 1024})
    group.remove()
    return "memory" in group.enforced
