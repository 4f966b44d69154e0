"""Streams of hosts: who may open one, what is answered, and what ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from control_plane.errors import Unavailable
from control_plane.governor import hosts
from control_plane.model.action import RevokeNode
from control_plane.model.identity import CertificateSerial, NodePrincipal
from control_plane.model.ids import NODE, NodeId, new_id
from control_plane.model.node import NodeState
from control_plane.model.record import AuditRecord
from control_plane.services.link_answers import LateAnswers
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession, end_silent
from control_plane.services.link_stream import LinkStream
from control_plane.services.link_terms import LinkTerms
from control_plane.store import audit, nodes
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import page_request
from control_plane.urgency import Urgency
from orquanta.v1 import node_link_pb2
from tests.control_plane.services.node_link.hosts import key_pem, signing_request
from tests.control_plane.services.node_link.rig import Rig, running
from tests.fake_clock import FakeClock


async def test_the_first_answer_is_welcome_with_the_terms_and_then_the_full_desired_state(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.dial() as stream:
        await stream.send(hello=host.hello())
        welcome = (await stream.next("welcome")).welcome
        assert welcome.node_id == host.node_id
        assert welcome.control_epoch == rig.store.control_epoch
        assert welcome.heartbeat_interval.ToTimedelta() == timedelta(seconds=3)
        assert welcome.lease.ToTimedelta() == timedelta(seconds=15)
        assert welcome.fence.ToTimedelta() == timedelta(seconds=300)
        assert list(welcome.nats_servers) == ["tls://nats:4222"]
        desired = (await stream.next("desired_state")).desired_state
        assert (desired.control_epoch, desired.revision, len(desired.members)) == (rig.store.control_epoch, 1, 0)
        assert [one.WhichOneof("message") for one in stream.received] == ["welcome", "desired_state"]
        node = await rig.node(host.node_id)
        assert (node.state, node.connected) == (NodeState.READY, True)
        assert node.inventory is not None
        assert [gpu.uuid for gpu in node.inventory.gpus] == host.uuids()
        assert rig.registry.connected(host.node_id)
    await rig.until_node(host.node_id, lambda node: not node.connected)
    assert not rig.registry.connected(host.node_id)


async def test_a_heartbeat_is_acknowledged_without_a_change_in_the_store(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await stream.next("desired_state")
        before = await rig.node(host.node_id)
        for sequence in (1, 2, 3):
            await stream.heartbeat(sequence)
            assert (await stream.next("heartbeat_ack")).heartbeat_ack.sequence == sequence
        await rig.until(nodes.sightings, lambda heard: heard.get(host.node_id) not in (None, before.last_seen_at))
        assert (await rig.node(host.node_id)).version == before.version
    rig.clock.offset_seconds += 7
    assert 7 <= rig.registry.silent_for_seconds(host.node_id) < 20


async def test_the_registry_tells_of_links_that_come_and_go(rig: Rig) -> None:
    told: list[tuple[NodeId, bool]] = []
    rig.registry.on_change(lambda node_id, up: told.append((node_id, up)))
    host = await rig.join("gpu-1")
    async with host.connect():
        pass
    await rig.until_node(host.node_id, lambda node: not node.connected)
    assert told == [(host.node_id, True), (host.node_id, False)]


async def test_a_node_revoked_in_mid_stream_is_sent_away_for_good_at_once(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await rig.propose(RevokeNode(host.node_id, "stolen"))
        farewell = await stream.farewell()
        assert farewell.permanent
        assert "revoked" in farewell.reason
        assert await stream.ended() is grpc.StatusCode.OK
    async with host.dial() as stream:
        await stream.try_hello(host)
        assert await stream.ended() is grpc.StatusCode.PERMISSION_DENIED
    assert (await rig.node(host.node_id)).state is NodeState.REVOKED


async def test_a_newer_stream_of_the_same_host_replaces_the_older(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as old, host.connect() as new:
        farewell = await old.farewell()
        assert farewell.reason.startswith("replaced")
        assert not farewell.permanent
        await new.heartbeat(1)
        await new.next("heartbeat_ack")
        assert (await rig.node(host.node_id)).connected


async def test_a_second_host_with_a_copied_identity_is_refused_while_the_first_is_alive(tmp_path: Path) -> None:
    async with running(tmp_path, terms=LinkTerms(heartbeat_seconds=60.0, lease_seconds=180.0)) as rig:
        host = await rig.join("gpu-1")
        async with host.connect() as first:
            for _ in range(2):
                async with host.dial() as second:
                    await second.send(hello=host.hello(boot_id="boot-of-the-clone"))
                    farewell = await second.farewell()
                    assert "another host is connected with the same certificate" in farewell.reason
                    assert farewell.retry_after.ToTimedelta() > timedelta()
            assert await rig.audited(host.node_id, "link.refuse") == [], "it may have been booted anew"
            rig.clock.offset_seconds += 6
            await first.heartbeat(1)
            await first.next("heartbeat_ack")
            await rig.until(_refusals, lambda found: len(found) == 1)
            async with host.dial() as second:
                await second.send(hello=host.hello(boot_id="boot-of-the-clone"))
                assert "If this host was cloned" in (await second.farewell()).reason
            assert len(await rig.audited(host.node_id, "link.refuse")) == 1


def _refusals(tx: Tx) -> list[AuditRecord]:
    page = audit.page(tx, AuditFilter(), page_request(500, ""))
    return [record for record in page.items if record.action == "link.refuse"]


async def test_a_host_that_was_booted_anew_takes_over_from_the_stream_it_left_behind(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as old:
        rig.clock.offset_seconds += 8
        async with host.connect(boot_id="next-boot"):
            assert (await old.farewell()).reason.startswith("replaced")


async def test_two_daemons_of_one_host_that_keep_replacing_each_other_are_stopped(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with AsyncExitStack() as streams:
        for _ in range(7):
            await streams.enter_async_context(host.connect())
        stream = await streams.enter_async_context(host.dial())
        await stream.send(hello=host.hello())
        assert "keep replacing each other" in (await stream.farewell()).reason
    assert len(await rig.audited(host.node_id, "link.refuse")) == 1


async def test_silence_instead_of_hello_ends_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path, terms=LinkTerms(hello_seconds=0.05)) as rig:
        host = await rig.join("gpu-1")
        async with host.dial() as stream:
            await stream.call.wait_for_connection()
            assert "no Hello" in (await stream.farewell()).reason


async def test_silence_for_a_lease_ends_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path, terms=LinkTerms(heartbeat_seconds=0.05, lease_seconds=0.2)) as rig:
        host = await rig.join("gpu-1")
        async with host.connect() as stream:
            assert "silent" in (await stream.farewell()).reason
        await rig.until_node(host.node_id, lambda node: not node.connected)


def alone() -> LinkSession:
    """Return a session without a stream."""
    clock = FakeClock()
    return LinkSession(
        NodePrincipal(new_id(NODE), CertificateSerial("1")),
        "boot",
        clock=clock,
        terms=LinkTerms(lease_seconds=15.0),
        registry=LinkRegistry(clock=clock),
        answers=LateAnswers(Urgency()),
        changed=lambda _: None,
        health_changed=lambda _: None,
    )


def test_nobody_counts_as_silent_after_the_process_stood_still_before_what_was_said_meanwhile_is_read() -> None:
    session = alone()
    session.listening_since = 100.0
    end_silent([session], pause_seconds=3.0, before=102.0, now=120.0)
    assert not session.outbox.closed
    end_silent([session], pause_seconds=3.0, before=120.0, now=123.0)
    assert session.outbox.closed


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that nothing tells of."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0)


class Stuck:
    """What gRPC gives a call whose host does not read: each message waits for ever."""

    async def write(self, _message: object) -> None:
        await asyncio.Event().wait()


async def silence() -> AsyncIterator[node_link_pb2.ConnectRequest]:
    """Say nothing."""
    await asyncio.Event().wait()
    yield node_link_pb2.ConnectRequest()


@pytest.mark.parametrize("listening", [False, True])
async def test_a_stream_that_is_not_read_ends_whoever_has_waited_to_write(*, listening: bool) -> None:
    session, loop = alone(), asyncio.get_running_loop()
    if not listening:
        session.outbox.put_heartbeat_ack(1)
    context: Any = Stuck()  # Any: as much of gRPC's context as a stream uses
    stream = asyncio.create_task(LinkStream(session, silence(), context).run())
    async with asyncio.timeout(30):
        await until(lambda: not listening or session.listening_since is not None)
        session.outbox.put_heartbeat_ack(2)
        await until(lambda: session.writer is not None)
        assert (session.listening_since is not None) == listening
        now = loop.time()
        end_silent([session], pause_seconds=3.0, before=now + 10, now=now + 13)
        assert session.writer is not None, "thirteen seconds are not long"
        end_silent([session], pause_seconds=3.0, before=now + 29, now=now + 32)
        with pytest.raises(Unavailable, match="was not read"):
            await stream
    assert session.writer is None


async def test_what_cannot_be_taken_ends_the_stream_that_it_came_from_with_a_time_to_come_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_session: LinkSession, _report: node_link_pb2.MemberReport) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(LinkSession, "_take_report", fail)
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await stream.send(member_report=node_link_pb2.MemberReport())
        farewell = await stream.farewell()
        assert "cannot be read" in farewell.reason
        assert farewell.retry_after.ToTimedelta() == timedelta(seconds=5)
    async with host.connect():
        pass


async def test_a_first_message_that_is_not_hello_and_a_second_hello_end_the_stream(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.dial() as stream:
        await stream.heartbeat(1)
        assert "first message must be Hello" in (await stream.farewell()).reason
    async with host.connect() as stream:
        await stream.send(hello=host.hello())
        assert "second Hello" in (await stream.farewell()).reason


async def test_bytes_that_are_no_message_end_the_stream_alone(rig: Rig) -> None:
    host, other = await rig.join("gpu-1"), await rig.join("gpu-2")
    async with other.connect() as healthy, host.dial() as dialled:
        await dialled.send(hello=host.hello())
        await dialled.next("welcome")
        credentials = grpc.ssl_channel_credentials(rig.ca.trust_pem, key_pem(host.key), host.certificate)
        async with aio.secure_channel(rig.nodes_address, credentials) as channel:
            call: Any = channel.stream_stream("/orquanta.v1.NodeLinkService/Connect")()  # Any: raw bytes
            await call.write(b"\xff\xff\xff\xff")
            async with asyncio.timeout(30):
                while await call.read() is not aio.EOF:
                    pass
                assert await call.code() is not None
        await healthy.heartbeat(1)
        await healthy.next("heartbeat_ack")


async def test_a_host_that_obeys_a_newer_control_plane_is_left_to_it(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.dial() as stream:
        await stream.send(hello=host.hello(control_epoch=rig.store.control_epoch + 1))
        assert "older epoch" in (await stream.farewell()).reason
    assert (await rig.node(host.node_id)).state is NodeState.JOINING


async def test_a_stopping_control_plane_says_when_to_come_back(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await rig.links.close()
        farewell = await stream.farewell()
        assert not farewell.permanent
        assert farewell.retry_after.ToTimedelta() == timedelta(seconds=1)
        async with host.dial() as again:  # told before it has said anything
            assert "stopping" in (await again.farewell()).reason


async def test_a_node_declared_lost_while_its_stream_is_up_has_to_tell_its_full_state_again(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await rig.store.write(lambda tx: hosts.node_lost(tx, host.node_id, "silent"))
        assert "full state" in (await stream.farewell()).reason
    async with host.connect():
        assert (await rig.node(host.node_id)).state is NodeState.READY


async def test_after_a_restart_every_node_counts_as_heard_at_the_start(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        host = await rig.join("gpu-1")
        async with host.connect():
            pass
    async with running(tmp_path) as rig:
        assert rig.registry.silent_for_seconds(host.node_id) < 10
        assert not (await rig.node(host.node_id)).connected
        host.rig = rig
        async with host.connect(control_epoch=rig.store.control_epoch - 1):
            assert rig.registry.connected(host.node_id)


async def test_a_control_plane_that_cannot_tell_whether_it_is_in_charge_acknowledges_no_heartbeats(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may have taken over behind its back, and count how long its hosts have been silent."""
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await stream.heartbeat(1)
        await stream.next("heartbeat_ack")

        async def cut_off(function: Callable[[Tx], object]) -> object:
            raise Unavailable("the database cannot be reached", reason="STORE_UNAVAILABLE")

        with monkeypatch.context() as patch:
            patch.setattr(rig.store, "read", cut_off)
            rig.clock.offset_seconds += 1
            await stream.heartbeat(2)
            await stream.next("heartbeat_ack")  # for a lease it is good without asking
            rig.clock.offset_seconds += 15
            await stream.heartbeat(3)
            await stream.send(certificate_signing_request=signing_request(host.key))
            await stream.next("certificate")  # what follows the heartbeat on the stream was answered
        async with asyncio.timeout(30):
            while not rig.registry.in_charge_within(15):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        await stream.heartbeat(4)
        assert (await stream.next("heartbeat_ack")).heartbeat_ack.sequence == 4
    acks = [one.heartbeat_ack.sequence for one in stream.received if one.WhichOneof("message") == "heartbeat_ack"]
    assert acks == [1, 2, 4]


async def test_a_control_plane_that_was_superseded_sends_its_hosts_away(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        successor = await Store.open(str(rig.store._engine.url), clock=rig.clock)
        try:
            assert "stopping" in (await stream.farewell()).reason
        finally:
            await successor.close()
