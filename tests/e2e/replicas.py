"""Two control planes over one PostgreSQL and a cluster of three NATS servers, with hosts: every part a real process."""

import asyncio
import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from control_plane.bus.broker_config import security
from control_plane.bus.client import BusEndpoint
from control_plane.bus.subjects import CONTROL_USER
from control_plane.clock import SystemClock
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.key_pairs import KeyPairFiles, ensure_client_certificate, ensure_server_certificate
from control_plane.identity.secrets import SecretBox
from orquanta.client import AsyncClient
from orquanta.gameday.fleet import ADMIN, FleetError, Host, Program, free_port, wait_until
from orquanta.gameday.program import START_SECONDS

CLUSTER_SERVERS = 3
SETTINGS = {
    "heartbeat_seconds": "0.5",
    "lease_seconds": "6",
    "fence_seconds": "60",
    "fence_margin_seconds": "1",
    "default_stop_grace_seconds": "1",
}


class NatsCluster:
    """Three nats-servers with JetStream, TLS between them and towards clients, configured as for the product."""

    def __init__(self, directory: Path, pair: KeyPairFiles, ca_file: Path, box: SecretBox) -> None:
        self._directory = directory
        self.ports = [free_port() for _ in range(CLUSTER_SERVERS)]
        routes = [free_port() for _ in range(CLUSTER_SERVERS)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        tls = {"cert_file": str(pair.certificate), "key_file": str(pair.key), "ca_file": str(ca_file), "verify": True}
        for number, port in enumerate(self.ports):
            place = directory / f"nats-{number}"
            place.mkdir(parents=True)
            config = {
                "server_name": f"nats-{number}",
                "listen": f"127.0.0.1:{port}",
                "tls": {**tls, "handshake_first": True, "timeout": 5},
                "jetstream": {"store_dir": str(place / "store"), "max_file_store": 2 << 30},
                "cluster": {
                    "name": "orquanta",
                    "listen": f"127.0.0.1:{routes[number]}",
                    "routes": [f"nats-route://127.0.0.1:{route}" for route in routes],
                    "tls": {**_route_tls(directory), "verify": True, "timeout": 5},
                },
                **security(box.nats_issuer_public_key, box.nats_control_password),
            }
            (place / "nats.conf").write_text(json.dumps(config))

    @property
    def urls(self) -> str:
        """The servers, as the setting nats_url takes them."""
        return ",".join(f"tls://127.0.0.1:{port}" for port in self.ports)

    async def start(self) -> None:
        """Start all of them and wait until each listens."""
        for number in range(CLUSTER_SERVERS):
            self.start_one(number)
        await wait_until(lambda: all(_listens(port) for port in self.ports), "the NATS servers listen")

    def start_one(self, number: int) -> None:
        """Start one server, or start it again."""
        place = self._directory / f"nats-{number}"
        with (place / "log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [Path(sys.executable).with_name("nats-server"), "-c", place / "nats.conf"], stdout=log, stderr=log
            )

    def kill(self, number: int) -> None:
        """`kill -9` one server."""
        self._processes[number].kill()
        self._processes[number].wait()

    def stop(self) -> None:
        """End all of them."""
        for process in self._processes.values():
            process.kill()
            process.wait()


class Replica:
    """One control plane of the fleet."""

    def __init__(self, name: str, directory: Path, flags: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.state = directory / name
        self.server = f"127.0.0.1:{free_port()}"
        self.nodes_server = f"127.0.0.1:{free_port()}"
        own = {
            "state_dir": str(self.state),
            "people_address": self.server,
            "nodes_address": self.nodes_server,
            "replica_name": name,
            **flags,
        }
        arguments = [text for key, value in own.items() for text in (f"--{key.replace('_', '-')}", value)]
        arguments.append("--replicated")
        self.program = Program(name, ["-m", "control_plane", *arguments], directory / f"{name}.log", environment)

    async def start(self) -> None:
        """Start and wait until it serves. Raises FleetError with its log."""
        ready = self.state / "ready.json"
        ready.unlink(missing_ok=True)
        self.program.start()
        try:
            await wait_until(lambda: ready.exists() or not self.program.running, f"{self.name} serves", seconds=60)
        except FleetError as error:
            raise FleetError(f"{error}\n{self.program.tail(60)}") from None
        if not ready.exists():
            raise FleetError(f"{self.name} ended:\n{self.program.tail(60)}")


class ReplicatedFleet:
    """All of it in one directory; an asynchronous context manager."""

    def __init__(self, directory: Path, database_url: str, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        clock = SystemClock()
        identity = directory / "identity"
        self._ca = CertificateAuthority.load_or_create(identity / "ca", clock=clock)
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(self._ca.trust_pem)
        box = SecretBox.load_or_create(identity)
        pair = ensure_server_certificate(self._ca, directory / "tls", ["localhost", "127.0.0.1"], clock=clock)
        self.nats = NatsCluster(directory, pair, self.ca_file, box)
        self._box = box
        self.password = secrets.token_urlsafe(16)
        flags = {
            "database_url": database_url,
            "nats_url": self.nats.urls,
            "identity_folder": str(identity),
            **SETTINGS,
            **(settings or {}),
        }
        # A database's address may hold a password, so it is no flag; the NATS password neither.
        environment = {
            "ORQUANTA_DATABASE_URL": flags.pop("database_url"),
            "ORQUANTA_NATS_PASSWORD": box.nats_control_password,
            "ORQUANTA_ADMIN_PASSWORD": self.password,
            "XDG_CONFIG_HOME": str(directory / "config"),
        }
        self.replicas = [Replica(name, directory, flags, environment) for name in ("alpha", "beta")]
        self.hosts: dict[str, Host] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self.nats.start()
            await asyncio.gather(*(replica.start() for replica in self.replicas))
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
        for replica in self.replicas:
            replica.program.kill()
        self.nats.stop()
        shutil.rmtree(self.directory / "tls", ignore_errors=True)

    async def client(self, replica: Replica) -> AsyncClient:
        """Return a client of one replica, logged in as the administrator; it is closed with the fleet."""
        client = AsyncClient(replica.server, ca_certificate=self.ca_file)
        await self._stack.enter_async_context(client)
        await client.auth.login(ADMIN, self.password)
        return client

    def endpoint(self) -> BusEndpoint:
        """How to reach the cluster as the control planes do."""
        pair = ensure_client_certificate(self._ca, self.directory / "tls", "bench", clock=SystemClock())
        urls = tuple(self.nats.urls.split(","))
        return BusEndpoint(
            urls, self.ca_file, pair.certificate, pair.key, CONTROL_USER, self._box.nats_control_password
        )

    async def leader(self, client: AsyncClient, *, other_than: str = "") -> Replica:
        """Return the replica that leads, once one does that is not this one, as a client's replica tells."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                told = await client.agents.replicas()
                name = next((one.name for one in told.replicas if one.leads), "")
                if name and name != other_than:
                    return next(replica for replica in self.replicas if replica.name == name)
                await asyncio.sleep(0.05)

    async def add_host(self, admin: AsyncClient, server: str, name: str, gpus: str) -> Host:
        """Join a host through one replica and start its daemon; return once it takes jobs."""
        host = Host(name, self.directory / name, gpus, {})
        self.hosts[name] = host
        token = await admin.nodes.create_join_token()
        await host.join(server, token.secret)
        host.daemon.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                async for node in admin.nodes.watch():
                    if node.name == name and node.state.value == "ready":
                        host.node_id = node.id
                        return host
        raise FleetError(f"{name} is not ready:\n{host.daemon.tail()}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _route_tls(directory: Path) -> dict[str, str]:
    """Return a certificate between the servers: each is client and server there, which no certificate of ours is."""
    certificate, key = directory / "route.pem", directory / "route.key"
    if not certificate.exists():
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "routes")])
        now = SystemClock().now()
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(private, hashes.SHA256())
        )
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return {"cert_file": str(certificate), "key_file": str(key), "ca_file": str(certificate)}
