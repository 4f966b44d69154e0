"""Each port of the control plane takes as many connections as it may, and no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane import listeners
from control_plane.clock import SystemClock
from control_plane.credentials import Certificates
from control_plane.listeners import Listeners
from control_plane.ports import hold_port
from control_plane.services.access import Port
from control_plane.services.link_join import Joining
from control_plane.services.node_link import NodeLink
from control_plane.settings import Settings
from control_plane.store.database import Store
from tests.control_plane.services.harness import running_fleet
from tests.control_plane.services.node_link.rig import running
from tests.fake_clock import FakeClock

FILES = 64
PATIENCE_SECONDS = 60.0
SETTLED = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE)


@dataclass(frozen=True)
class Listening:
    """Both ports, and what a client of either needs."""

    addresses: dict[Port, str]
    credentials: dict[Port, grpc.ChannelCredentials]

    def connection(self, port: Port) -> aio.Channel:
        """Return a channel that shares its connection with no other, and does not call again while a test looks."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 600_000)]
        return aio.secure_channel(self.addresses[port], self.credentials[port], options=options)


@pytest.fixture
async def listening(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Listening]:
    monkeypatch.setattr(listeners, "raise_limit", lambda: FILES)
    settings = Settings(state_dir=tmp_path / "state", people_address="127.0.0.1:0", nodes_address="127.0.0.1:0")
    certificates = Certificates(settings, ("127.0.0.1",), clock=SystemClock())
    async with (
        running_fleet(sqlite_store, clock, tmp_path / "people") as fleet,
        running(tmp_path / "links") as rig,
        AsyncExitStack() as stack,
    ):
        held = {port: stack.enter_context(hold_port(f"{port.value}_address", "127.0.0.1:0")) for port in Port}
        ports = {port: one.port for port, one in held.items()}
        joining = Joining(
            rig.store, rig.ca, clock=clock, certificate_lifetime=timedelta(hours=1), link_servers=lambda: ()
        )
        opened = Listeners(settings, certificates, people_port=ports[Port.PEOPLE], nodes_port=ports[Port.NODES])
        await opened.open(stack, fleet.services, NodeLink(joining=joining, links=rig.links), clock=clock)
        trust, own = certificates.ca.trust_pem, certificates.client
        yield Listening(
            {port: f"127.0.0.1:{number}" for port, number in ports.items()},
            {
                Port.PEOPLE: grpc.ssl_channel_credentials(trust),
                Port.NODES: grpc.ssl_channel_credentials(trust, own.key.read_bytes(), own.certificate.read_bytes()),
            },
        )


async def settled(channel: aio.Channel) -> grpc.ChannelConnectivity:
    """Connect; return whether that went well."""
    state = channel.get_state(try_to_connect=True)
    while state not in SETTLED:
        await channel.wait_for_state_change(state)
        state = channel.get_state()
    return state


async def is_served(channel: aio.Channel) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(channel)  # Any: the stub comes without types
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize(("port", "most"), [(Port.PEOPLE, 16), (Port.NODES, 32)])
async def test_connections_beyond_a_ports_bound_are_hung_up_on_while_those_within_it_go_on_working(
    listening: Listening, port: Port, most: int
) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_SECONDS):
        within = [await stack.enter_async_context(listening.connection(port)) for _ in range(most)]
        assert [await settled(channel) for channel in within] == [grpc.ChannelConnectivity.READY] * most
        beyond = [await stack.enter_async_context(listening.connection(port)) for _ in range(3)]
        assert {await settled(channel) for channel in beyond} == {grpc.ChannelConnectivity.TRANSIENT_FAILURE}
        assert all([await is_served(channel) for channel in within])
        other = await stack.enter_async_context(listening.connection({Port.PEOPLE: Port.NODES}.get(port, Port.PEOPLE)))
        assert await is_served(other), "each port has a bound of its own"
