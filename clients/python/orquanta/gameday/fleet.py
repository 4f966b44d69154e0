"""A whole fleet of real processes on this machine: a control plane, its broker, and daemons with virtual GPUs.

Game days, the demo, the benchmarks and the end-to-end tests all stand on this. Everything goes through the real
programs, ports and credentials; the only thing taken for granted is that the hosts share one machine.
"""

import asyncio
import contextlib
import fcntl
import os
import random
import secrets
import shutil
import socket
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from orquanta.client import AsyncClient
from orquanta.gameday.host import Host
from orquanta.gameday.program import (
    START_SECONDS,
    FleetError,
    Program,
    all_pids,
    kill,
    names,
    read_file,
    self_and_ancestors,
    wait_until,
)
from orquanta.types.accounts import Role

__all__ = ["ADMIN", "Fleet", "FleetError", "Host", "Program", "free_port", "wait_until"]

ADMIN = "admin@localhost"

_PORTS = range(20_000, 32_768)
"""Below those that the kernel gives to whoever asks for any: such a one can be gone before its server has started."""
_PORT_TRIES = 100
_given = set[int]()


class _Claims:
    """Which ports the processes of this machine have looked up for themselves.

    Between the look and the use of a port its server is not there yet, and another process would find it free. Each
    claim is the lock of one byte of a file: the kernel lets it go when the process ends, however it does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def take(self, port: int) -> bool:
        """Claim a port until this process ends. Return whether nobody else has; True as well where no claim can be."""
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError:  # the file is another user's
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        return True


_claims = _Claims(Path("/tmp/orquanta-gameday-ports.lock"))  # noqa: S108 - guards nothing but ports of one machine


def free_port() -> int:
    """Return a port that nobody uses at the moment, another one at each call. Raises FleetError if none is found."""
    ports = [port for port in _PORTS if port not in _given]
    for port in random.SystemRandom().sample(ports, min(_PORT_TRIES, len(ports))):
        if not _claims.take(port):
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port
    raise FleetError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free")


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
        self._sweep()
        if self._owned:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _sweep(self) -> None:
        """Kill what programs of the fleet have left behind: their command line or environment names its directory."""
        spared = self_and_ancestors()
        for pid in all_pids():
            if pid not in spared and names(pid, str(self.directory)):
                kill(pid)

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
        for pid in all_pids():
            command = read_file(Path("/proc", str(pid), "cmdline"))
            if b"nats-server" in command and str(self.state).encode() in command:
                return pid
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
        state: Path | None = None,
    ) -> Host:
        """Join a host and start its daemon; return once it takes jobs. `settings` are the daemon's, by name."""
        environment = {f"ORQUANTA_NODE_{key.upper()}": value for key, value in (settings or {}).items()}
        host = Host(name, self.directory / name, gpus, environment, state=state)
        self.hosts[name] = host
        token = await admin.nodes.create_join_token(labels=labels or {})
        await host.join(self.server, token.secret)
        host.daemon.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                async for node in admin.nodes.watch():
                    if node.name == name and node.state.value == "ready":
                        host.node_id = node.id
                        return host
        raise FleetError(f"{name} is not ready:\n{host.daemon.tail()}")
