"""The control plane's way to NATS: a broker of its own, or yours."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from control_plane.bus.bucket import Bucket
from control_plane.bus.callout import AuthCallout
from control_plane.bus.client import Bus, BusEndpoint
from control_plane.bus.embedded import BrokerConfig, EmbeddedNats, Sync
from control_plane.bus.streams import stream_specs
from control_plane.bus.subjects import CONTROL_USER, REPLICA_BUCKET
from control_plane.clock import Clock
from control_plane.credentials import Certificates
from control_plane.errors import Unavailable
from control_plane.identity.secrets import SecretBox
from control_plane.ports import reachable
from control_plane.setting_addresses import split_address
from control_plane.settings import Settings
from control_plane.store import nodes
from control_plane.store.database import Store

log = structlog.get_logger()

_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
_SYNC = {"every-second": Sync.EVERY_SECOND, "every-message": Sync.EVERY_MESSAGE}


@dataclass(frozen=True, slots=True)
class Broker:
    """The connected bus, who lets hosts in, the URLs that hosts are told, and our own server if there is one."""

    bus: Bus
    callout: AuthCallout
    node_urls: tuple[str, ...]
    embedded: EmbeddedNats | None
    bucket: Bucket | None = None
    """Where replicas of the control plane find each other; None if there is but one."""


async def open_broker(
    stack: AsyncExitStack,
    settings: Settings,
    certificates: Certificates,
    secrets: SecretBox,
    store: Store,
    *,
    clock: Clock,
) -> Broker:
    """Start or reach the broker, answer its authorisation requests and make sure that the streams exist."""
    embedded: EmbeddedNats | None = None
    if settings.nats_url:
        _show_issuer(settings.identity / "nats-issuer.pub", secrets.nats_issuer_public_key)
        endpoint = _external(settings, certificates)
        node_urls = settings.nats_url
    else:
        host, port = split_address(settings.nats_address)
        embedded = await stack.enter_async_context(
            EmbeddedNats(
                BrokerConfig(
                    directory=settings.state_dir / "nats",
                    certificate_file=certificates.server.certificate,
                    key_file=certificates.server.key,
                    ca_file=certificates.trust_file,
                    issuer_public_key=secrets.nats_issuer_public_key,
                    control_password=secrets.nats_control_password,
                    host=host,
                    port=port or _port_before(settings.state_dir),
                    sync=_SYNC[settings.nats_sync],
                ),
                clock=clock,
            )
        )
        _keep_port(settings.state_dir, embedded.port)
        endpoint = BusEndpoint(
            urls=(embedded.url,),
            ca_file=certificates.trust_file,
            certificate_file=certificates.client.certificate,
            key_file=certificates.client.key,
            user=CONTROL_USER,
            password=secrets.nats_control_password,
        )
        node_urls = (f"tls://{reachable(settings.nats_address, embedded.port, settings.advertise_names)}",)
    bus = await stack.enter_async_context(Bus(endpoint))
    callout = await stack.enter_async_context(
        AuthCallout(
            bus,
            issuer_seed=secrets.nats_issuer_seed,
            is_node_allowed=lambda node_id, serial: store.read(lambda tx: nodes.is_allowed(tx, node_id, serial)),
            clock=clock,
        )
    )
    if not settings.replicated:
        await bus.ensure_streams(stream_specs())
        return Broker(bus, callout, node_urls, embedded)
    bucket = Bucket(bus, REPLICA_BUCKET)
    copies = await bucket.ensure()
    await _streams_of_cluster(bus, copies)
    return Broker(bus, callout, node_urls, embedded, bucket)


def _show_issuer(path: Path, public_key: str) -> None:
    """Leave the key for who sets up the NATS servers, which have to know it before anything can connect."""
    with contextlib.suppress(OSError):  # a folder of keys may be mounted read-only; the key is printed as well
        if not path.exists():
            path.write_text(f"{public_key}\n")


async def _streams_of_cluster(bus: Bus, copies: int) -> None:
    """Make the streams of servers that may still be choosing who leads each of them. Raises Unavailable."""
    for pause_seconds in _PAUSES_SECONDS:
        try:
            await bus.ensure_streams(stream_specs(replicas=copies))
        except Unavailable as error:
            log.info("bus.streams_wait", why=error.message)
            await asyncio.sleep(pause_seconds)
        else:
            return
    await bus.ensure_streams(stream_specs(replicas=copies))


def _external(settings: Settings, certificates: Certificates) -> BusEndpoint:
    return BusEndpoint(
        urls=settings.nats_url,
        ca_file=settings.nats_ca_file or certificates.trust_file,
        certificate_file=settings.nats_certificate_file or certificates.client.certificate,
        key_file=settings.nats_key_file or certificates.client.key,
        user=settings.nats_user or CONTROL_USER,
        password=settings.password("nats_password"),
    )


def _port_before(state_dir: Path) -> int:
    """Return the port that was chosen at an earlier start: hosts remember it while the control plane is away."""
    try:
        return int((state_dir / "nats-port").read_text())
    except (OSError, ValueError):
        return 0


def _keep_port(state_dir: Path, port: int) -> None:
    (state_dir / "nats-port").write_text(str(port))
