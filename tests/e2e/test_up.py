"""`orquanta up`: one command starts a fleet of one machine, Ctrl-C leaves nothing running."""

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

from orquanta.gameday.fleet import free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(180)]

ORQUANTA = Path(sys.executable).with_name("orquanta")


def environment(directory: Path) -> dict[str, str]:
    return {"HOME": str(directory), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def processes_of(state: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(state).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it has just ended
    return found


@asynccontextmanager
async def up(directory: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it with JSON lines on its output; in the end it is stopped as Ctrl-C would."""
    ports = [text for name in ("people", "nodes") for text in (f"--{name}-address", f"127.0.0.1:{free_port()}")]
    process = await asyncio.create_subprocess_exec(
        *(str(ORQUANTA), "up", "--json", "--state-dir", str(directory / "state"), *ports, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(directory),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 40)


async def event(process: asyncio.subprocess.Process, **wanted: str) -> dict[str, Any]:
    """The next event with these fields. Any: JSON."""
    assert process.stdout is not None
    async with asyncio.timeout(40):
        while line := await process.stdout.readline():
            found: dict[str, Any] = json.loads(line)
            if wanted.items() <= found.items():
                return found
    assert process.stderr is not None
    raise AssertionError(f"it ended before {wanted}: {(await process.stderr.read()).decode()}")


async def run(directory: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(str(ORQUANTA), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(directory),
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()


async def test_up_runs_a_goal_stops_without_a_trace_and_remembers_everything(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with up(tmp_path, "--virtual-gpus", "2xL4") as first:
        serving = await event(first, event="serving")
        assert serving["password"]
        await event(first, event="node", state="ready")
        code, stdout, stderr = await run(tmp_path, "goal", "submit", "Run `echo it works` on 2 L4 for 2 minutes")
        assert code == 0, stdout + stderr
        await event(first, event="job", state="succeeded")
        first.send_signal(signal.SIGINT)
        await asyncio.wait_for(first.wait(), 30)
    assert first.returncode in {0, 130}
    await wait_until(lambda: not processes_of(state), "nothing is left running")

    async with up(tmp_path, "--virtual-gpus", "2xL4") as second:
        assert not (await event(second, event="serving"))["password"]
        await event(second, event="node", state="ready")
        code, stdout, _ = await run(tmp_path, "goal", "list", "--json")
        assert code == 0
        assert [goal["state"] for goal in json.loads(stdout)["goals"]] == ["succeeded"]
        code, stdout, _ = await run(tmp_path, "node", "list", "--json")
        assert len(json.loads(stdout)["nodes"]) == 1
    await wait_until(lambda: not processes_of(state), "nothing is left running")


async def test_a_second_up_on_the_same_directory_says_so_and_disturbs_nothing(tmp_path: Path) -> None:
    async with up(tmp_path) as first:
        await event(first, event="serving")
        async with up(tmp_path) as second:
            await asyncio.wait_for(second.wait(), 30)
            assert second.stderr is not None
            said = json.loads(await second.stderr.read())["error"]
        assert second.returncode == 1
        assert "another control plane" in said["message"]
        assert str(tmp_path / "state") in said["message"]
        assert "Traceback" not in said["message"]
        code, _, stderr = await run(tmp_path, "node", "list")
        assert code == 0, stderr


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    host, port = taken.sockets[0].getsockname()
    async with taken, up(tmp_path, "--people-address", f"{host}:{port}") as process:
        await asyncio.wait_for(process.wait(), 30)
        assert process.stderr is not None
        said = json.loads(await process.stderr.read())["error"]["message"]
    assert process.returncode == 1
    assert f"{host}:{port} is taken" in said
    assert "--people-address" in said
    await wait_until(lambda: not processes_of(tmp_path / "state"), "nothing is left running")


async def test_closing_the_terminal_stops_everything_as_ctrl_c_does(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a child inherits that it is ignored
    try:
        async with up(tmp_path, "--virtual-gpus", "1xL4") as process:
            await event(process, event="node", state="ready")
            process.send_signal(signal.SIGHUP)
            await asyncio.wait_for(process.wait(), 30)
    finally:
        signal.signal(signal.SIGHUP, before)
    await wait_until(lambda: not processes_of(tmp_path / "state"), "nothing is left running")
