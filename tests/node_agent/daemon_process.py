"""The real `orquanta-node` in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Finished:
    exit_code: int
    output: str
    errors: str


def environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORQUANTA_")}
    return {**kept, **extra}


async def command(*arguments: str, stdin: str = "", **extra: str) -> Finished:
    """Run one command of orquanta-node to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "node_agent",
        *arguments,
        env=environment(**extra),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT_SECONDS):
        output, errors = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Finished(process.returncode, output.decode(), errors.decode())


class DaemonProcess:
    """`orquanta-node run` on one state directory."""

    def __init__(self, state_dir: Path, *arguments: str) -> None:
        self.state_dir = state_dir
        self._arguments = ("run", "--state-dir", str(state_dir), "--container-engine", "none", *arguments)
        self._process: asyncio.subprocess.Process | None = None
        self._log = state_dir.parent / f"{state_dir.name}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "node_agent", *self._arguments, env=environment(), stdout=log, stderr=log
            )

    async def wait(self) -> int:
        assert self._process is not None
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._process.wait()

    async def kill(self) -> None:
        """Kill it as a crash would."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def terminate(self) -> int:
        """Stop it as systemd would; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self.wait()

    def log(self) -> str:
        return self._log.read_text()

    def status(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.state_dir / "status.json").read_text())
        return value
