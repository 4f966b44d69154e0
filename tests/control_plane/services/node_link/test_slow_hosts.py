"""A host that says what it has to say and never reads: it would not hear an order, so its stream is ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from control_plane.services import link_server, reader
from control_plane.services.link_session import LinkSession
from orquanta.v1 import node_link_pb2
from orquanta.v1.node_link_pb2_grpc import NodeLinkServiceStub
from tests.control_plane.services.node_link.hosts import Host, Stream, key_pem
from tests.control_plane.services.node_link.rig import Rig, running

SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 4_096), ("grpc.http2.bdp_probe", 0))


ORDER = node_link_pb2.DesiredState(members=[node_link_pb2.MemberAssignment(allocation_id="x" * 16_000)])


@asynccontextmanager
async def deaf(rig: Rig, host: Host) -> AsyncIterator[tuple[Any, LinkSession]]:  # Any: the stub's call is a union
    """Link a host that reads its welcome and nothing after it."""
    credentials = grpc.ssl_channel_credentials(rig.ca.trust_pem, key_pem(host.key), host.certificate)
    async with aio.secure_channel(rig.nodes_address, credentials, options=SMALL_WINDOW) as channel:
        call: Any = NodeLinkServiceStub(channel).Connect()  # Any: as above
        await call.write(node_link_pb2.ConnectRequest(hello=host.hello()))
        await call.read()
        session = rig.registry.link(host.node_id)
        assert isinstance(session, LinkSession)
        yield call, session


async def test_a_host_that_does_not_read_is_sent_away_and_costs_no_more_than_its_newest_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_server, "_SILENCE_LOOKS", 0.01)
    async with running(tmp_path) as rig:
        host = await rig.join("a")
        async with deaf(rig, host) as (call, session):
            monkeypatch.setattr(reader, "SLOW_READER_SECONDS", 0.3)
            async with asyncio.timeout(30):
                while rig.registry.connected(host.node_id):
                    session.outbox.put_desired(ORDER)
                    with suppress(aio.AioRpcError, asyncio.InvalidStateError):  # it may be sent away at this moment
                        await call.write(node_link_pb2.ConnectRequest(heartbeat=node_link_pb2.Heartbeat(sequence=1)))
                    await asyncio.sleep(0.01)
                assert await Stream(call).ended() is grpc.StatusCode.UNAVAILABLE
                assert "was not read" in await call.details()
        monkeypatch.setattr(reader, "SLOW_READER_SECONDS", 30.0)
        async with host.connect():
            pass


async def test_a_stream_that_is_not_read_ends_also_once_another_has_replaced_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_server, "_SILENCE_LOOKS", 0.01)
    async with running(tmp_path) as rig:
        host = await rig.join("a")
        async with deaf(rig, host) as (_, session), asyncio.timeout(30):
            stuck_since = 0.0
            while session.writer is None or session.writing_since != stuck_since:
                stuck_since = session.writing_since
                session.outbox.put_desired(ORDER)
                await asyncio.sleep(0.1)
            async with host.connect():
                monkeypatch.setattr(reader, "SLOW_READER_SECONDS", 0.3)
                while session.writer is not None:  # noqa: ASYNC110 - it is no event for anybody
                    await asyncio.sleep(0.05)
