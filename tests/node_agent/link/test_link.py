"""The stream, in this process, against a scripted control plane over real mutual TLS."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from node_agent.clock import SystemClock
from node_agent.errors import LinkRefused
from node_agent.link.epoch import ControlEpoch
from node_agent.link.identity import IdentityStore
from node_agent.link.servers import LinkServers
from orquanta.v1 import job_pb2, node_link_pb2, node_pb2
from tests.node_agent.link.conftest import Join
from tests.node_agent.link.scripted import ScriptedHost, linked, make_link, spooling
from tests.node_agent.pki import Authority, serial_of
from tests.node_agent.plane import Plane
from tests.node_agent.site import assignment

RUNNING = job_pb2.ALLOCATION_STATE_RUNNING
ENDED = job_pb2.ALLOCATION_STATE_ENDED


def _report(name: str, state: job_pb2.AllocationState.ValueType) -> node_link_pb2.MemberReport:
    return node_link_pb2.MemberReport(allocation_id=name, job_id="j-1", epoch=1, rank=0, state=state)


async def test_the_daemon_says_hello_with_its_full_state_and_obeys(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.desired = (assignment("true", name="a-000000000001"), assignment("true", name="a-000000000002"))
    plane.nats_servers = ("tls://127.0.0.1:4222",)
    host = ScriptedHost(reports=[_report("a-000000000009", RUNNING)])
    async with linked(joined, store, tmp_path, host=host):
        stream = await plane.up()
        await host.wait_for(lambda: host.orders)
    assert stream.node_id == "n-0123456789ab"
    assert stream.hello is not None
    assert stream.hello.inventory.hostname == "host-1"
    assert [member.allocation_id for member in stream.hello.members] == ["a-000000000009"]
    assert host.orders == [["a-000000000001", "a-000000000002"]]
    assert host.servers == [("tls://127.0.0.1:4222",)]
    assert host.statuses[0].connected


async def test_each_connect_sends_everything_again(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    host = ScriptedHost()
    async with linked(joined, store, tmp_path, host=host):
        first = await plane.up()
        host.reports.append(_report("a-000000000001", RUNNING))
        first.cut()
        second = await plane.up(streams=2)
        await plane.stop_link()
        await plane.start_link()
        third = await plane.up(streams=3)
    assert [len(s.hello.members) for s in (first, second, third) if s.hello] == [0, 1, 1]


async def test_a_change_is_reported_at_once_and_an_end_until_it_is_acknowledged(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.acknowledge_ends = False
    async with linked(joined, store, tmp_path) as (link, host):
        stream = await plane.up()
        link.member_changed(_report("a-000000000001", RUNNING))
        await plane.reported(RUNNING)
        host.reports.append(_report("a-000000000001", ENDED))
        link.member_changed(host.reports[0])
        await plane.reported(ENDED)
        plane.acknowledge_ends = True
        stream.cut()
        await host.wait_for(lambda: host.acknowledged == [("a-000000000001", 0)])
        plane.stream.cut()
        last = await plane.up(streams=3)
    assert last.hello is not None
    assert list(last.hello.members) == []


async def test_hardware_that_changed_is_told(plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path) -> None:
    async with linked(joined, store, tmp_path) as (link, _):
        stream = await plane.up()
        link.inventory_changed(node_pb2.HostInventory(hostname="host-2"))
        await plane.wait_for(lambda: stream.inventories)
    assert [inventory.hostname for inventory in stream.inventories] == ["host-2"]


async def test_the_fence_runs_from_when_the_acknowledged_heartbeat_was_sent(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.fence_seconds = 100.0
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    async with linked(joined, store, tmp_path) as (_, host):
        await host.wait_for(lambda: len(host.fences) >= 3)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert all(began + 100 <= fence <= now + 100 for fence in host.fences)
    assert host.fences == sorted(host.fences)


async def test_an_unacknowledged_heartbeat_does_not_move_the_fence(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.acknowledge_heartbeats = False
    async with linked(joined, store, tmp_path) as (_, host):
        await plane.wait_for(lambda: plane.streams and len(plane.stream.heartbeats) >= 3)
        assert len(host.fences) == 1  # the welcome's, which answered the hello


async def test_a_half_open_stream_is_given_up(plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path) -> None:
    plane.acknowledge_heartbeats = False
    plane.lease_seconds = 0.2
    async with linked(joined, store, tmp_path) as (_, host):
        await plane.up(streams=2)
    assert any("no heartbeat was acknowledged" in status.reason for status in host.statuses)


async def test_orders_of_an_older_control_plane_are_refused(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with linked(joined, store, tmp_path) as (_, host):
        stream = await plane.up()
        stream.order(assignment("true", name="a-000000000001"), revision=2, epoch=4)
        stream.order(assignment("true", name="a-000000000002"), revision=3, epoch=5)
        await host.wait_for(lambda: ["a-000000000002"] in host.orders)
        assert ["a-000000000001"] not in host.orders


async def test_an_older_control_plane_is_refused_even_after_a_restart(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with linked(joined, store, tmp_path):
        await plane.up()
    plane.epoch = 4
    async with linked(joined, store, tmp_path) as (_, host):
        await plane.wait_for(lambda: len(plane.streams) >= 3)
        assert host.orders == []
        assert plane.stream.hello is None or plane.stream.hello.control_epoch == 5
        plane.epoch = 6
        await host.wait_for(lambda: host.orders)
    assert ControlEpoch(tmp_path / "control_epoch.json").value == 6


async def test_an_older_revision_does_not_undo_a_newer_one(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    async with linked(joined, store, tmp_path) as (_, host):
        stream = await plane.up()
        stream.order(assignment("true", name="a-000000000001"), revision=7)
        stream.order(revision=6)
        stream.order(assignment("true", name="a-000000000002"), revision=8)
        await host.wait_for(lambda: host.orders and host.orders[-1] == ["a-000000000002"])
        assert [] not in host.orders[1:]


async def test_while_one_order_is_carried_out_the_newest_of_the_others_wins(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    host = ScriptedHost(hold=asyncio.Event())
    async with linked(joined, store, tmp_path, host=host):
        stream = await plane.up()
        await host.wait_for(lambda: host.orders == [[]])
        for number in range(1, 10):
            stream.order(assignment("true", name=f"a-00000000000{number}"), revision=1 + number)
        beats = len(stream.heartbeats)
        # The stream goes on meanwhile. Who has heard what was answered after the orders has heard the orders too.
        await host.wait_for(lambda: len(host.fences) > 1 + beats + 2)  # one for the welcome, and one for each answer
        assert host.hold is not None
        host.hold.set()
        await host.wait_for(lambda: ["a-000000000009"] in host.orders)
    assert host.orders == [[], ["a-000000000009"]]


async def test_an_order_that_failed_is_carried_out_again(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.desired = (assignment("true"),)
    async with linked(joined, store, tmp_path, host=ScriptedHost(fail_first_order=True)) as (_, host):
        await host.wait_for(lambda: len(host.orders) == 2)
    assert host.orders[0] == host.orders[1]


async def test_a_permanent_disconnect_ends_the_link(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.refuse = node_link_pb2.Disconnect(reason="revoked by ann", permanent=True)
    identity = await joined()
    async with spooling(tmp_path / "spool") as spool:
        link = make_link(store, identity, ScriptedHost(), spool, tmp_path)
        with pytest.raises(LinkRefused, match=r"revoked by ann.*join again"):
            await link.run()


async def test_a_disconnect_that_is_not_permanent_is_followed_by_another_try(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.refuse = node_link_pb2.Disconnect(reason="restarting")
    async with linked(joined, store, tmp_path) as (_, host):
        await plane.wait_for(lambda: len(plane.streams) >= 2)
        plane.refuse = None
        await plane.up(streams=3)
    assert "restarting" in [status.reason for status in host.statuses]


async def test_a_refusal_by_status_is_tried_again(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.abort = grpc.StatusCode.PERMISSION_DENIED
    async with linked(joined, store, tmp_path) as (_, host):
        while not host.statuses:  # noqa: ASYNC110 - the link tells by a plain call
            await asyncio.sleep(0.01)
        plane.abort = None
        await plane.up()
    assert host.statuses[0].reason == "PERMISSION_DENIED: go away"


async def test_another_authority_on_the_port_is_named(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    await joined()
    await plane.stop_link()
    plane.authority = Authority()
    await plane.start_link()
    async with linked(joined, store, tmp_path) as (_, host):
        while not host.statuses:  # noqa: ASYNC110 - the link tells by a plain call
            await asyncio.sleep(0.01)
    assert "not the control plane of the trusted" in host.statuses[0].reason


async def test_the_next_link_server_is_tried_when_one_is_away(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    real = plane.link_address
    plane.link_address = "127.0.0.1:1"
    identity = await joined()
    away = next(
        one
        for port in range(1, 500)
        if LinkServers(identity.node_id, (one := f"127.0.0.1:{port}", real)).current == one
    )
    node = identity.directory / "node.json"
    node.write_text(node.read_text().replace('"127.0.0.1:1"', f'"{away}", "{real}"'))
    async with linked(joined, store, tmp_path) as (_, host):
        await plane.up()
    assert [status.server for status in host.statuses[:2]] == [away, real]


async def test_link_servers_that_a_control_plane_tells_are_known_after_a_restart(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    await joined()
    plane.link_servers = ("127.0.0.1:7", plane.link_address, "no address")
    async with linked(joined, store, tmp_path):
        await plane.up()
        while len(store.load().link_servers) < 2:  # noqa: ASYNC110 - the link tells nobody
            await asyncio.sleep(0.01)
    assert set(store.load().link_servers) == {"127.0.0.1:7", plane.link_address}


async def test_the_certificate_is_renewed_and_the_next_connect_uses_it(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path
) -> None:
    plane.certificate_starts_in = timedelta(days=-10)  # most of its life is over
    async with linked(joined, store, tmp_path) as (link, host):
        first_key = link.identity.key_file.read_bytes()
        await plane.up()
        stream = await plane.up(streams=2)
        renewed = store.load()
        assert link.identity == renewed
    assert stream.serial == int(renewed.certificate.serial, 16) == serial_of(renewed.certificate_file.read_bytes())
    assert plane.streams[0].serial != stream.serial
    assert renewed.key_file.read_bytes() != first_key
    assert host.identities == [renewed]
    assert not store.pending_key_file.exists()


async def test_a_certificate_of_another_authority_is_not_taken(
    plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.certificate_starts_in = timedelta(days=-10)
    identity = await joined()
    plane.authority = Authority()  # signs from now on; the ports keep the first one
    async with linked(joined, store, tmp_path):
        output = ""
        async with asyncio.timeout(30):
            while "link.renewal_failed" not in output:
                output += capsys.readouterr().out
                await asyncio.sleep(0.02)
    assert "not issued by this node's authority" in output
    assert store.load() == identity


async def test_a_wrong_wall_clock_is_told(plane: Plane, joined: Join, store: IdentityStore, tmp_path: Path) -> None:
    class Late(SystemClock):
        def now(self):  # type: ignore[no-untyped-def] # noqa: ANN202 - as its base says
            return super().now() - timedelta(hours=2)

    async with linked(joined, store, tmp_path, clock=Late()) as (_, host):
        await plane.up()
    assert host.statuses[0].clock_ahead_seconds == pytest.approx(-7200, abs=60)
