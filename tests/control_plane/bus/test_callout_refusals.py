"""Which hosts the broker lets in, against a real one: certificates, credentials, revocation, and the end of a grant."""

import asyncio
import contextlib
from pathlib import Path

import nats.errors
import nats.js.errors
import pytest

from control_plane.bus.callout import AuthCallout
from control_plane.bus.client import Bus
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.subjects import (
    node_inbox_prefix,
    node_telemetry,
)
from control_plane.identity.ca import CertificateAuthority
from control_plane.model.ids import NodeId
from tests.control_plane.bus.conftest import (
    CLOCK,
    Connect,
    Node,
    NodeClient,
    Site,
    node_client,
)


async def refused(connect: Connect, pem: Path | None, **options: object) -> str:
    with pytest.raises((nats.errors.Error, OSError)) as caught:
        await connect(pem, "_INBOX.any", max_reconnect_attempts=1, reconnect_time_wait=0, **options)
    return str(caught.value)


async def test_client_without_a_certificate_is_refused(connect: Connect) -> None:
    await refused(connect, None)


async def test_certificate_of_another_ca_is_refused(connect: Connect, site: Site, tmp_path: Path) -> None:
    other = CertificateAuthority.load_or_create(tmp_path / "other-ca", clock=CLOCK)
    await refused(connect, site.join(ca=other).pem)


async def test_server_certificate_is_no_client_certificate(connect: Connect, site: Site, tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    pem.write_bytes(site.server.key.read_bytes() + site.server.certificate.read_bytes())
    await refused(connect, pem)


async def test_the_control_planes_certificate_alone_opens_nothing(connect: Connect, site: Site, tmp_path: Path) -> None:
    pem = tmp_path / "client.pem"
    pem.write_bytes(site.client.key.read_bytes() + site.client.certificate.read_bytes())
    assert "Authorization Violation" in await refused(connect, pem)


@pytest.mark.parametrize(
    "credentials",
    [
        {"user": "control", "password": "guessed"},
        {"user": "somebody", "password": "x"},
        {"token": "t"},
    ],
)
async def test_node_certificate_with_other_credentials_is_refused(
    connect: Connect, a: Node, credentials: dict[str, str]
) -> None:
    assert "Authorization Violation" in await refused(connect, a.pem, **credentials)


async def test_revoked_node_is_refused(connect: Connect, site: Site, a: Node) -> None:
    site.allowed.clear()
    assert "Authorization Violation" in await refused(connect, a.pem)


async def test_old_certificate_of_a_node_is_refused_when_only_its_new_serial_is_allowed(
    connect: Connect, site: Site, a: Node
) -> None:
    site.allowed.discard((a.node_id, a.serial))
    renewed = site.join(a.node_id)

    await connect(renewed.pem, node_inbox_prefix(a.node_id))
    assert "Authorization Violation" in await refused(connect, a.pem)


async def test_disconnect_cuts_a_revoked_node_at_once(
    callout: AuthCallout, site: Site, as_a: NodeClient, as_b: NodeClient, a: Node
) -> None:
    site.allowed.discard((a.node_id, a.serial))
    await callout.disconnect(a.node_id)

    await as_a.closed.wait()
    await as_b.client.flush()
    assert not as_b.closed.is_set()


async def test_failing_check_refuses_and_later_ones_work(bus: Bus, broker: EmbeddedNats, site: Site, a: Node) -> None:
    failures = iter([RuntimeError("database is down")])

    async def check(node_id: NodeId, serial: str) -> bool:
        for failure in failures:
            raise failure
        return True

    async with AuthCallout(bus, issuer_seed=site.secrets.nats_issuer_seed, is_node_allowed=check, clock=CLOCK):
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            async with node_client(site, broker.url, a.pem, "_INBOX.x"):
                pass
        async with node_client(site, broker.url, a.pem, node_inbox_prefix(a.node_id)) as client:
            assert client.client.is_connected


async def test_grant_ends_and_the_host_can_come_again(bus: Bus, broker: EmbeddedNats, site: Site, a: Node) -> None:
    ended = 0
    async with (
        asyncio.timeout(30),
        AuthCallout(
            bus,
            issuer_seed=site.secrets.nats_issuer_seed,
            is_node_allowed=site.is_allowed,
            clock=CLOCK,
            grant_seconds=1,
        ),
    ):
        while ended < 2:
            # The broker counts whole seconds: a grant made at the end of one can be over before the host is greeted.
            with contextlib.suppress(nats.errors.Error):
                async with node_client(site, broker.url, a.pem, node_inbox_prefix(a.node_id)) as client:
                    await client.closed.wait()
                    ended += 1


async def test_reload_of_the_broker_lets_hosts_come_again_and_keeps_the_control_plane(
    bus: Bus, broker: EmbeddedNats, connect: Connect, a: Node
) -> None:
    before = await connect(a.pem, node_inbox_prefix(a.node_id))
    broker.reload()
    await before.closed.wait()

    after = await connect(a.pem, node_inbox_prefix(a.node_id))
    await after.client.publish(node_telemetry(a.node_id), b"x")
    assert await after.violations() == []
    assert bus.reconnects == 0
