"""Everything that runs: PostgreSQL, three NATS servers, two control planes, a network before each, and hosts."""

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg

from chaos.hosts import Hosts
from chaos.network import Network
from orquanta.client import AsyncClient
from orquanta.gameday.fleet import ADMIN
from orquanta.retry import RetryPolicy
from orquanta.types.accounts import Role
from tests.e2e.replicas import Replica, ReplicatedFleet
from tests.postgresql import PostgreSql, running_postgresql

NETWORK_HOST: Final = "127.0.0.2"
"""What control planes announce, and hosts dial: the network before them listens there, at the same port."""

DURABLE: Final = ("fsync=off", "shared_buffers=64MB", "max_connections=60")
"""The machine itself is not cut off, so nothing has to reach its disk; but what is acknowledged has left the server."""

SETTINGS: Final = {
    "advertise_names": NETWORK_HOST,
    "heartbeat_seconds": "2",
    "lease_seconds": "8",
    "fence_seconds": "10",
    "fence_margin_seconds": "3",  # so late may a host be with what it must have stopped
    "default_stop_grace_seconds": "1",
    "approval_above_usd": "1000000",
    "max_gpus_per_user": "256",
}
PEOPLE: Final = 3
_MOST: Final = 0.8
_START_SECONDS: Final = 120.0
_ONE_CALL: Final = RetryPolicy(max_attempts=1)


class Site:
    """All of it in one directory. An asynchronous context manager; leaves no process behind."""

    def __init__(self, directory: Path, hosts: int, seed: int, seconds: float) -> None:
        self.directory = directory
        self._given = (hosts, seed, seconds)
        self._stack = AsyncExitStack()
        self.database: PostgreSql
        self.url = ""
        self.fleet: ReplicatedFleet
        self.networks: list[Network] = []
        self.hosts: Hosts
        self.admin: AsyncClient
        self.people: list[list[AsyncClient]] = []

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        count, seed, seconds = self._given
        self.database = self._stack.enter_context(running_postgresql(DURABLE))
        self.database.execute("CREATE DATABASE chaos")
        self.url = self.database.url("chaos")
        self.fleet = ReplicatedFleet(self.directory, self.url, SETTINGS)
        await self._stack.enter_async_context(self.fleet)
        for replica in self.fleet.replicas:
            port = replica.nodes_server.rpartition(":")[2]
            network = Network(f"{NETWORK_HOST}:{port}", replica.nodes_server)
            self.networks.append(await self._stack.enter_async_context(network))
        alpha = self.fleet.replicas[0]
        self.admin = await self._client(alpha, "")
        await self.admin.auth.login(ADMIN, self.fleet.password)
        await self._both_announced()
        self.hosts = Hosts(self.directory, count, seed, seconds, server=alpha.server, ca_file=self.fleet.ca_file)
        self.hosts.key_file.write_text((await self.admin.auth.create_api_key("hosts")).secret)
        await self._make_people()
        self._stack.push_async_callback(self.hosts.stop)
        self.hosts.start()
        await self._linked(count)

    async def _client(self, replica: Replica, key: str) -> AsyncClient:
        made = AsyncClient(
            replica.server, ca_certificate=self.fleet.ca_file, api_key=key, timeout_seconds=10.0, retry=_ONE_CALL
        )
        return await self._stack.enter_async_context(made)

    async def _both_announced(self) -> None:
        async with asyncio.timeout(_START_SECONDS):
            while len((await self.admin.agents.replicas()).replicas) < len(self.fleet.replicas):  # noqa: ASYNC110 - remote
                await asyncio.sleep(0.1)
            await self.fleet.leader(self.admin)

    async def _make_people(self) -> None:
        for number in range(PEOPLE):
            email, password = f"person-{number}@localhost", secrets.token_urlsafe(16)
            await self.admin.auth.create_user(email, password, Role.USER)
            first = await self._client(self.fleet.replicas[0], "")
            await first.auth.login(email, password)
            key = (await first.auth.create_api_key("chaos")).secret
            self.people.append([await self._client(replica, key) for replica in self.fleet.replicas])

    async def _linked(self, count: int) -> None:
        async with asyncio.timeout(_START_SECONDS):
            while sum(one.links for one in (await self.admin.agents.replicas()).replicas) < count:
                self.hosts.check()
                await asyncio.sleep(0.2)

    def leader(self) -> str | None:
        """Return the name of the control plane that took the lead last, by the database; None while that is away."""
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                row = connection.execute("SELECT changed_by FROM control WHERE key = 'control_epoch'").fetchone()
        except psycopg.OperationalError:
            return None
        return None if row is None else str(row[0])

    def mostly_linked(self) -> bool:
        """Tell whether most hosts are linked, by the database."""
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                row = connection.execute("SELECT count(*) FROM nodes WHERE connected").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and int(row[0]) >= _MOST * self._given[0]

    def unfinished(self) -> int:
        """Return how many jobs have not ended and GPUs are held, by the database."""
        with psycopg.connect(self.url, connect_timeout=10) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM jobs WHERE status NOT IN ('succeeded', 'failed', 'cancelled')) + "
                "(SELECT count(*) FROM allocations WHERE state <> 'ended')"
            ).fetchone()
        return 0 if row is None else int(row[0])

    async def verify_audit(self) -> list[str]:
        """Verify the audit as `orquanta audit verify` does; return what is wrong with it."""
        verdict = await self.admin.audit.verify()
        return [] if verdict.intact else [f"the audit: {verdict.fault} at record {verdict.at_id}: {verdict.text}"]

    async def quiet(self, seconds: float) -> bool:
        """Wait until everything has ended; return whether it did in time."""
        until = time.monotonic() + seconds
        while await asyncio.to_thread(self.unfinished):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.3)
        return True
