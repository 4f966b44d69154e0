"""A whole fleet of real processes on this machine: a control plane, its broker, and daemons with virtual GPUs.

Game days, the demo, the benchmarks and the end-to-end tests all stand on this. Everything goes through the real
programs, ports and credentials; the only thing taken for granted is that the hosts share one machine.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from orquanta.client import AsyncClient
from orquanta.types.accounts import Role

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
ADMIN = "admin@localhost"


class FleetError(Exception):
    """A program of the fleet did not do what it must; its log is in the message."""


class Program:
    """A program with its output in a file, which can be killed and started again."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._arguments = [sys.executable, *arguments]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 if it does not run."""
        return self._process.pid if self.running and self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program in a session of its own, so that Ctrl-C here reaches it only through us."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.running and self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def wait(self, seconds: float) -> int:
        """Block until it ends by itself; return its exit status, negative for a signal. Kills it after that time."""
        assert self._process is not None, "it was never started"
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise FleetError(f"{self.name} did not end within {seconds:g} s:\n{self.tail()}") from None

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL if that does not help."""
        self.signal(signal.SIGTERM)
        try:
            await wait_until(lambda: not self.running, f"{self.name} stops", seconds=_STOP_SECONDS)
        except FleetError:
            self.kill()

    def tail(self, lines: int = 25) -> str:
        """Return the end of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


async def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = _START_SECONDS) -> None:
    """Wait until the condition holds. Raises FleetError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise FleetError(f"waited {seconds:g} s in vain: {what}")
        await asyncio.sleep(_POLL_SECONDS)


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Host:
    """A GPU host: a daemon with virtual GPUs, its jobs and their supervisors."""

    def __init__(self, name: str, directory: Path, gpus: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.node_id = ""
        self.state = directory / "state"
        self.socket = directory / "node.sock"
        environment = {"ORQUANTA_NODE_SOCKET": str(self.socket), **environment}
        self._environment = environment
        directory.mkdir()
        arguments = ["-m", "node_agent", "run", "--state-dir", str(self.state), "--virtual-gpus", gpus]
        self.daemon = Program(f"daemon of {name}", arguments, directory / "log", environment)

    async def join(self, server: str, token: str) -> None:
        """Join the fleet with a one-time token. Raises FleetError with the daemon's own words."""
        arguments = ["-m", "node_agent", "join", "--server", server, "--token", token]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            "--name",
            self.name,
            "--state-dir",
            str(self.state),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self._environment},
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise FleetError(f"{self.name} cannot join: {output.decode(errors='replace')}")

    @property
    def identity(self) -> Path:
        """The directory with the host's key and certificate of now."""
        return (self.state / "identity" / "current").resolve()

    def dial(self, server: str) -> None:
        """Have the daemon call `server` from its next start on, instead of the address it was given on joining."""
        path = self.identity / "node.json"
        identity = json.loads(path.read_text())
        identity["link_servers"] = [server]
        path.write_text(json.dumps(identity))

    def processes(self) -> list[int]:
        """Return every process of the host besides the daemon: supervisors, jobs and what they started."""
        numbered = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [int(entry.name) for entry in numbered if int(entry.name) != self.daemon.pid and self._is_ours(entry)]

    def supervisors(self) -> list[int]:
        """Return the jobs' supervisors."""
        return [pid for pid in self.processes() if b"supervisor" in _read(Path("/proc", str(pid), "cmdline"))]

    def _is_ours(self, process: Path) -> bool:
        mark = str(self.state).encode()
        return mark in _read(process / "cmdline") or mark in _read(process / "environ")

    def lose_power(self) -> None:
        """Kill everything on the host at once, as a power cut would."""
        self.daemon.kill()
        while victims := self.processes():
            for pid in victims:
                _kill(pid)

    async def stop(self) -> None:
        """Stop the daemon, then whatever is left."""
        await self.daemon.stop()
        self.lose_power()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Fleet:
    """A control plane and its hosts in a scratch directory. An asynchronous context manager.

    `settings` are passed to the control plane as flags, for example {"lease_seconds": "3"}. `directory` is kept when
    it is given and deleted when it was made here.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, directory: Path | None = None) -> None:
        self._owned = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="orquanta-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.state = self.directory / "control-plane"
        self.server = f"127.0.0.1:{free_port()}"
        self.nodes_server = f"127.0.0.1:{free_port()}"
        self.password = secrets.token_urlsafe(16)
        self.hosts: dict[str, Host] = {}
        # What the person who runs this has set must not reach the fleet.
        self.environment = {"XDG_CONFIG_HOME": str(self.directory / "config"), "ORQUANTA_ADMIN_PASSWORD": self.password}
        self._stack = AsyncExitStack()
        flags = {
            "state_dir": str(self.state),
            "people_address": self.server,
            "nodes_address": self.nodes_server,
            **(settings or {}),
        }
        arguments = [text for name, value in flags.items() for text in (f"--{name.replace('_', '-')}", value)]
        self.control_plane = Program(
            "control plane", ["-m", "control_plane", *arguments], self.directory / "control-plane.log", self.environment
        )

    async def __aenter__(self) -> Self:
        try:
            await self.start_control_plane()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await self._stack.aclose()
        await asyncio.gather(*(host.stop() for host in self.hosts.values()))
        await self.control_plane.stop()
        if self._owned:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def ca_file(self) -> Path:
        """The certificate of the fleet's CA."""
        return self.state / "identity" / "trust.crt"

    async def start_control_plane(self) -> None:
        """Start the control plane and wait until it serves. Raises FleetError with its log."""
        ready = self.state / "ready.json"
        ready.unlink(missing_ok=True)
        self.control_plane.start()
        try:
            await wait_until(lambda: ready.exists() or not self.control_plane.running, "the control plane serves")
        except FleetError as error:
            raise FleetError(f"{error}\n{self.control_plane.tail()}") from None
        if not ready.exists():
            raise FleetError(f"the control plane ended:\n{self.control_plane.tail()}")

    @property
    def broker_pid(self) -> int:
        """The process id of the embedded nats-server, or 0."""
        mark = str(self.state).encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                command = _read(entry / "cmdline")
                if b"nats-server" in command and mark in command:
                    return int(entry.name)
        return 0

    async def client(self, email: str = ADMIN, password: str = "") -> AsyncClient:
        """Return a client that is logged in; it is closed with the fleet."""
        client = AsyncClient(self.server, ca_certificate=self.ca_file)
        await self._stack.enter_async_context(client)
        await client.auth.login(email, password or self.password)
        key = await client.auth.create_api_key("fleet")
        lasting = AsyncClient(self.server, ca_certificate=self.ca_file, api_key=key.secret)
        return await self._stack.enter_async_context(lasting)

    async def person(self, admin: AsyncClient, email: str, role: Role) -> AsyncClient:
        """Make an account and return a client that is logged in to it."""
        password = secrets.token_urlsafe(16)
        await admin.auth.create_user(email, password, role)
        return await self.client(email, password)

    async def add_host(
        self,
        admin: AsyncClient,
        name: str,
        gpus: str,
        *,
        settings: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Host:
        """Join a host and start its daemon; return once it takes jobs. `settings` are the daemon's, by name."""
        environment = {f"ORQUANTA_NODE_{key.upper()}": value for key, value in (settings or {}).items()}
        host = Host(name, self.directory / name, gpus, environment)
        self.hosts[name] = host
        token = await admin.nodes.create_join_token(labels=labels or {})
        await host.join(self.server, token.secret)
        host.daemon.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                async for node in admin.nodes.watch():
                    if node.name == name and node.state.value == "ready":
                        host.node_id = node.id
                        return host
        raise FleetError(f"{name} is not ready:\n{host.daemon.tail()}")
