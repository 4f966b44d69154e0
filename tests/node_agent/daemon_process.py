"""The real `orquanta-node` in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from node_agent.errors import NotRunning
from node_agent.local.client import LocalClient, connected

T = TypeVar("T")

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
    """`orquanta-node run` on one state directory. It reads no kernel log but the one that `settings` names."""

    def __init__(
        self, state_dir: Path, *arguments: str, settings: str = "", variables: Mapping[str, str] | None = None
    ) -> None:
        """`settings` is TOML, `variables` are further ones of the environment."""
        self.state_dir = state_dir
        self._variables = dict(variables or {})
        file = state_dir.parent / f"{state_dir.name}.toml"
        file.write_text(settings if "kernel_log" in settings else f'kernel_log = ""\n{settings}')
        self._arguments = (
            *("run", "--state-dir", str(state_dir), "--config", str(file), "--container-engine", "none"),
            *arguments,
        )
        self._process: asyncio.subprocess.Process | None = None
        self._log = state_dir.parent / f"{state_dir.name}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "node_agent",
                *self._arguments,
                env=environment(**self._variables),
                stdout=log,
                stderr=log,
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

    async def ask(self, question: Callable[[LocalClient], T]) -> T:
        """Ask over the socket, as `orquanta-node status` does; waits until the daemon serves it."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    return await asyncio.to_thread(_ask, self.state_dir / "orquanta-node.sock", question)
                except NotRunning:
                    await asyncio.sleep(0.05)

    async def status(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(await self.ask(LocalClient.status_json))
        return value


def _ask(socket: Path, question: Callable[[LocalClient], T]) -> T:
    with connected(socket) as client:
        return question(client)
