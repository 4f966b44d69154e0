"""Hosts that say too much, or come too often, are sent away."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from grpc import aio

from control_plane.services.link_registry import STREAMS_AT_ONCE
from control_plane.services.link_session import STATES_AT_ONCE
from tests.control_plane.services.node_link.hosts import inventory
from tests.control_plane.services.node_link.rig import Rig


async def test_a_host_that_floods_is_sent_away_and_others_do_not_notice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.services.link_session.MESSAGES_PER_SECOND", 1)  # a busy machine takes its time
    host, other = await rig.join("gpu-1"), await rig.join("gpu-2")
    async with host.connect() as flood, other.connect() as quiet:

        async def pour() -> None:
            try:
                for sequence in range(10_000):
                    await flood.heartbeat(sequence)
            except (asyncio.InvalidStateError, aio.AioRpcError):
                pass

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pour())
            await flood.ended()  # what is on its way to a host that still pours may be lost with the stream
            await quiet.heartbeat(1)
            await quiet.next("heartbeat_ack")
        await rig.until_node(host.node_id, lambda node: not node.connected)
        assert rig.registry.connected(other.node_id)


async def test_a_host_that_opens_stream_after_stream_is_sent_away(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.services.link_registry._STREAMS_PER_SECOND", 0.01)
    host, other = await rig.join("gpu-1"), await rig.join("gpu-2")
    for _ in range(STREAMS_AT_ONCE):
        assert rig.registry.may_open(host.node_id)
    async with host.dial() as stream:
        await stream.send(hello=host.hello())
        farewell = await stream.farewell()
        assert "too many streams" in farewell.reason
        assert farewell.retry_after.ToTimedelta() > timedelta()
    async with other.connect():
        assert rig.registry.connected(other.node_id)
    rig.clock.offset_seconds += 110
    async with host.connect():
        assert rig.registry.connected(host.node_id)


async def test_a_host_that_keeps_changing_its_state_is_sent_away_and_its_claims_are_on_record_once(rig: Rig) -> None:
    owner, host = await rig.join("gpu-1"), await rig.join("gpu-2")
    async with owner.connect(), host.connect() as stream:
        with suppress(aio.AioRpcError, asyncio.InvalidStateError):  # it may be sent away before it is done
            for _ in range(STATES_AT_ONCE + 20):
                await stream.send(inventory=inventory("gpu-2", uuids=["GPU-gpu-1-0", "GPU-gpu-2-0"]))
        await stream.ended()
    await rig.until_node(host.node_id, lambda node: not node.connected)
    assert len(await rig.audited(host.node_id, "inventory.correct")) == 1
