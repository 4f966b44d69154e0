import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nats.aio.client import Client
from nats.js import JetStreamContext

from control_plane.bus.callout import AuthCallout
from control_plane.bus.client import Bus, BusEndpoint
from control_plane.bus.embedded import BrokerConfig, EmbeddedNats, Sync
from control_plane.bus.streams import StreamSpec, stream_specs
from control_plane.bus.subjects import node_inbox_prefix
from control_plane.clock import SystemClock
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.certificates import node_principal_from_pem
from control_plane.identity.key_pairs import (
    KeyPairFiles,
    ensure_client_certificate,
    ensure_server_certificate,
)
from control_plane.identity.secrets import SecretBox
from control_plane.model.identity import CertificateSerial
from control_plane.model.ids import NODE, NodeId, new_id

CLOCK = SystemClock()


@dataclass
class Site:
    """The files of one control plane, and the nodes that have joined it."""

    directory: Path
    ca: CertificateAuthority
    secrets: SecretBox
    ca_file: Path
    server: KeyPairFiles
    client: KeyPairFiles
    allowed: set[tuple[NodeId, CertificateSerial]] = field(default_factory=set)

    @classmethod
    def create(cls, directory: Path) -> "Site":
        ca = CertificateAuthority.load_or_create(directory / "ca", clock=CLOCK)
        ca_file = directory / "ca.pem"
        ca_file.write_bytes(ca.trust_pem)
        return cls(
            directory=directory,
            ca=ca,
            secrets=SecretBox.load_or_create(directory / "secrets"),
            ca_file=ca_file,
            server=ensure_server_certificate(ca, directory / "tls", ["localhost", "127.0.0.1"], clock=CLOCK),
            client=ensure_client_certificate(ca, directory / "tls", "control-plane", clock=CLOCK),
        )

    def broker_config(self, *, sync: Sync = Sync.EVERY_SECOND) -> BrokerConfig:
        return BrokerConfig(
            directory=self.directory / "nats",
            certificate_file=self.server.certificate,
            key_file=self.server.key,
            ca_file=self.ca_file,
            issuer_public_key=self.secrets.nats_issuer_public_key,
            control_password=self.secrets.nats_control_password,
            sync=sync,
        )

    def endpoint(self, url: str) -> BusEndpoint:
        return BusEndpoint(
            urls=(url,),
            ca_file=self.ca_file,
            certificate_file=self.client.certificate,
            key_file=self.client.key,
            user="control",
            password=self.secrets.nats_control_password,
        )

    def join(self, node_id: NodeId | None = None, *, ca: CertificateAuthority | None = None) -> "Node":
        node_id = node_id or new_id(NODE)
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        issued = (ca or self.ca).sign_node_csr(
            csr.public_bytes(serialization.Encoding.PEM), node_id, lifetime=timedelta(hours=1)
        )
        pem = self.directory / f"{node_id}-{issued.serial[:8]}.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + issued.certificate_pem
        )
        self.allowed.add((node_id, issued.serial))
        assert node_principal_from_pem(issued.certificate_pem).node_id == node_id
        return Node(node_id, issued.serial, pem, self)

    async def is_allowed(self, node_id: NodeId, serial: CertificateSerial) -> bool:
        return (node_id, serial) in self.allowed

    def tls(self, pem: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        if pem is not None:
            context.load_cert_chain(pem)
        return context


@dataclass
class Node:
    node_id: NodeId
    serial: CertificateSerial
    pem: Path
    site: Site


@dataclass
class NodeClient:
    """A host's own NATS client and what the broker told it."""

    client: Client
    errors: list[str]
    closed: asyncio.Event

    @property
    def node_id(self) -> NodeId:
        """The host that it says it is, by its inbox."""
        return NodeId(str(self.client._inbox_prefix, "ascii").removeprefix("_INBOX."))

    def stream(self) -> JetStreamContext:
        """What publishes to streams, and is patient where nats-py gives up after five seconds."""
        return self.client.jetstream(timeout=30)

    async def violations(self) -> list[str]:
        """What the broker has refused up to now."""
        await self.client.flush(30)
        await self.client.flush(30)  # nats-py's first ping overtakes its buffer
        return [error for error in self.errors if "permissions violation" in error]


Connect = Callable[..., Awaitable[NodeClient]]


async def eventually(happens: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
    """Wait for something that a process does; fail when it does not."""
    deadline = CLOCK.monotonic() + seconds
    while True:
        outcome = happens()
        if await outcome if isinstance(outcome, Awaitable) else outcome:
            return
        assert CLOCK.monotonic() < deadline, "it has not happened"
        await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Keys take a while to make; tests of one module share them, each with a broker of its own."""
    return Site.create(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(shared_site: Site, tmp_path: Path) -> Site:
    return replace(shared_site, directory=tmp_path, allowed=set())


@pytest.fixture
async def broker(site: Site) -> AsyncIterator[EmbeddedNats]:
    async with EmbeddedNats(site.broker_config(), clock=CLOCK) as broker:
        yield broker


@pytest.fixture
async def bus(site: Site, broker: EmbeddedNats) -> AsyncIterator[Bus]:
    async with Bus(site.endpoint(broker.url)) as bus:
        yield bus


@pytest.fixture
async def streams(bus: Bus) -> tuple[StreamSpec, ...]:
    specs = stream_specs()
    await bus.ensure_streams(specs)
    return specs


@pytest.fixture
async def callout(site: Site, bus: Bus) -> AsyncIterator[AuthCallout]:
    async with AuthCallout(
        bus, issuer_seed=site.secrets.nats_issuer_seed, is_node_allowed=site.is_allowed, clock=CLOCK
    ) as callout:
        yield callout


@pytest.fixture
async def connect(site: Site, broker: EmbeddedNats, callout: AuthCallout) -> AsyncIterator[Connect]:
    """Connect as a host; raises what nats-py raises when the broker refuses."""
    async with contextlib.AsyncExitStack() as stack:

        async def connect(pem: Path | None, inbox: str, **options: object) -> NodeClient:
            return await stack.enter_async_context(node_client(site, broker.url, pem, inbox, **options))

        yield connect


@contextlib.asynccontextmanager
async def node_client(
    site: Site, url: str, pem: Path | None, inbox: str, **options: object
) -> AsyncIterator[NodeClient]:
    client, errors, closed = Client(), [], asyncio.Event()

    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    async def on_closed() -> None:
        closed.set()

    settings: dict[str, object] = {
        "tls": site.tls(pem),
        "tls_handshake_first": True,
        "inbox_prefix": inbox,
        "allow_reconnect": False,
        "connect_timeout": 30,  # two seconds by itself
        "error_cb": on_error,
        "closed_cb": on_closed,
    }
    try:
        await client.connect(url, **(settings | options))  # type: ignore[arg-type] # options vary by test
        yield NodeClient(client, errors, closed)
    finally:
        await client.close()


@pytest.fixture
def a(site: Site) -> Node:
    return site.join()


@pytest.fixture
def b(site: Site) -> Node:
    return site.join()


@pytest.fixture
async def as_a(connect: Connect, a: Node) -> NodeClient:
    return await connect(a.pem, node_inbox_prefix(a.node_id))


@pytest.fixture
async def as_b(connect: Connect, b: Node) -> NodeClient:
    return await connect(b.pem, node_inbox_prefix(b.node_id))
