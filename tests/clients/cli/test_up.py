"""`orquanta up` with the real server and the real daemon."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orquanta.gameday.program import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(300)]

CLI = (sys.executable, "-m", "orquanta.cli")
FREE_PORTS = ("--people-address", "127.0.0.1:0", "--nodes-address", "127.0.0.1:0")


class Up:
    """A running `orquanta up --json`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def event(self, **wanted: str) -> dict[str, Any]:  # JSON
        """The next event with these values; the test's own time limit bounds the wait."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if all(event.get(key) == value for key, value in wanted.items()):
                return event
        assert self.process.stderr is not None
        raise AssertionError((await self.process.stderr.read()).decode())

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def up(environment: dict[str, str], state: Path, *arguments: str) -> AsyncIterator[Up]:
    process = await asyncio.create_subprocess_exec(
        *CLI,
        *("up", "--json", "--state-dir", str(state), *FREE_PORTS, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    running = Up(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            await running.stop()


async def run(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *CLI, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()


def processes_of(state: Path) -> list[str]:
    """Command lines that name the state directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(state) in command and int(entry.name) != os.getpid():
            found.append(command.replace("\0", " "))
    return found


async def test_up_serves_logs_in_runs_a_job_and_leaves_nothing_behind(
    bare_environment: dict[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    async with up(bare_environment, state, "--virtual-gpus", "2xH100") as first:
        serving = await first.event(event="serving")
        await first.event(event="node", state="ready")
        assert serving["password"]
        code, output, errors = await run(
            bare_environment, *("job", "submit", "--max-time", "5m", "--follow", "--", "echo from the job; exit 3")
        )
        assert (code, output) == (1, "from the job\n"), errors
        assert "exit code 3" in errors
        _, jobs, _ = await run(bare_environment, "job", "list", "--json")
        assert [job["state"] for job in json.loads(jobs)["jobs"]] == ["failed"]
        logs = "".join(file.read_text() for file in (state / "up").iterdir())
        assert serving["password"] not in logs
        assert list(state.glob(".admin-password*")) != []
        assert await first.stop() == 0
    assert list(state.glob(".admin-password*")) == []
    await wait_until(lambda: processes_of(state) == [], "nothing is left running")

    # The ports are others now; the login and the host must come back all the same.
    async with up(bare_environment, state, "--virtual-gpus", "2xH100") as second:
        serving = await second.event(event="serving")
        assert serving["password"] == ""
        await second.event(event="node", state="ready")
        code, _, errors = await run(bare_environment, "whoami")
        assert code == 0, errors


async def test_up_says_why_the_server_does_not_start(bare_environment: dict[str, str], tmp_path: Path) -> None:
    async with up(bare_environment, tmp_path / "state", "--log-level", "nonsense") as failing:
        _, errors = await failing.process.communicate()
    assert failing.process.returncode == 1
    error = json.loads(errors)["error"]
    assert error["reason"] == "PROGRAM_ENDED"
    assert "log_level" in error["message"]
