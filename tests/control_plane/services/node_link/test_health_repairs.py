"""Repairs over the link for real: ordered, told of, ended, and begun by hosts alone."""

from datetime import timedelta

from control_plane.model.action import RepairNode
from control_plane.model.health import HealthEventKind
from control_plane.model.identity import CredentialKind, Principal, Role
from control_plane.model.ids import UserId
from control_plane.model.incident import IncidentState
from control_plane.model.node import NodeState
from control_plane.model.repair import RepairState, Rung
from control_plane.store import conditions, incidents, repairs
from control_plane.store.incidents import IncidentFilter
from control_plane.store.pages import PageRequest
from orquanta.v1 import node_link_pb2, repair_pb2
from tests.control_plane.services.node_link.health_rig import (
    CLEARED,
    RAISED,
    RESET,
    acked,
    batch,
    condition,
    event,
    greeted,
    ids,
    ordered,
    progress,
)
from tests.control_plane.services.node_link.hosts import stamp
from tests.control_plane.services.node_link.rig import Rig


async def test_a_kernel_line_becomes_a_condition_a_repair_and_a_verified_end(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    async with greeted(rig, host) as stream:
        what = condition(rig, host)
        await stream.send(spool=batch([event(rig, 1, RAISED, what)]))
        await acked(stream, 1)
        order = await ordered(stream)
        assert (order.rung, list(order.gpu_uuids), list(order.condition_ids)) == (RESET, [host.uuids()[0]], [what.id])
        assert order.HasField("not_after")
        await stream.send(repair_report=progress(order, repair_pb2.REPAIR_STATE_RUNNING))
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.REPAIRING)
        await stream.send(repair_report=progress(order, repair_pb2.REPAIR_STATE_VERIFYING))
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.VERIFYING)
        end = progress(order, repair_pb2.REPAIR_STATE_SUCCEEDED, ended_at=stamp(rig.clock.now()))
        done = node_link_pb2.SpoolRecord(sequence=3, recorded_at=stamp(rig.clock.now()), repair_report=end)
        await stream.send(spool=batch([event(rig, 2, CLEARED, what), done]))
        await acked(stream, 3)
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.READY)
        page = await rig.store.read(
            lambda tx: incidents.page(tx, IncidentFilter(node_id=host.node_id), PageRequest(10))
        )
        (incident,) = page.items
        assert incident.state is IncidentState.RESOLVED
        assert "ev-1" in incident.diagnosis
        while stream.received[-1].desired_state.HasField("repair"):
            await stream.next("desired_state")  # what has ended is not asked for any more


async def test_trouble_that_came_and_went_while_the_link_was_down_orders_no_repair(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    before = rig.clock.now() - timedelta(hours=1)
    async with greeted(rig, host) as stream:
        what = condition(rig, host)
        await stream.send(spool=batch([event(rig, 1, RAISED, what, at=before)]))
        await acked(stream, 1)
        assert await ids(rig, host) == []
        await stream.send(spool=batch([event(rig, 2, CLEARED, what, at=before)]))
        await acked(stream, 2)
    assert await rig.store.read(lambda tx: conditions.event_counts(tx, host.node_id)) == {
        HealthEventKind.RAISED: 1,
        HealthEventKind.CLEARED: 1,
    }
    assert await rig.store.read(incidents.unended) == ()


async def test_a_repair_is_asked_for_again_after_a_reconnect_until_it_has_ended(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    what = condition(rig, host)
    async with greeted(rig, host, what) as stream:
        first = await ordered(stream)
    async with greeted(rig, host, what) as stream:
        assert (await ordered(stream)).id == first.id
        ended = progress(first, repair_pb2.REPAIR_STATE_FAILED, ended_at=stamp(rig.clock.now()))
        await stream.send(repair_report=ended)
        while (order := await ordered(stream)).id == first.id:
            await stream.next("desired_state")
        assert order.rung == repair_pb2.REPAIR_RUNG_RELOAD_DRIVER


async def test_a_host_cannot_end_or_fake_the_repair_of_another(rig: Rig) -> None:
    victim, thief = await rig.join("victim"), await rig.join("thief")
    async with greeted(rig, victim) as stream, greeted(rig, thief) as hostile:
        await rig.propose(RepairNode(victim.node_id, Rung.VERIFY, "a test wants it"))
        order = await ordered(stream)
        end = progress(order, repair_pb2.REPAIR_STATE_SUCCEEDED, ended_at=stamp(rig.clock.now()))
        record = node_link_pb2.SpoolRecord(sequence=1, recorded_at=stamp(rig.clock.now()), repair_report=end)
        await hostile.send(repair_report=end)
        await hostile.send(spool=batch([record], "theirs"))
        await acked(hostile, 1)
        repair = await rig.store.read(lambda tx: repairs.unfinished(tx, victim.node_id))
        assert repair is not None
        assert repair.state is RepairState.PENDING
        assert len(await rig.audited(thief.node_id, "repair.refuse")) == 1
        end.origin = repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY
        await hostile.send(spool=batch([node_link_pb2.SpoolRecord(sequence=2, repair_report=end)], "theirs"))
        await acked(hostile, 2)
        repair = await rig.store.read(lambda tx: repairs.unfinished(tx, victim.node_id))
        assert repair is not None
        assert repair.state is RepairState.PENDING
        assert repair.id == order.id


async def test_a_repair_that_a_host_began_alone_is_known_from_its_hello(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    alone = repair_pb2.RepairReport(
        repair_id="r-0123456789ab",
        origin=repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY,
        rung=RESET,
        state=repair_pb2.REPAIR_STATE_RUNNING,
        condition_ids=["gpu/xid-79"],
        policy_version=3,
    )
    async with greeted(rig, host, condition(rig, host), repair=alone) as stream:
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.REPAIRING)
        alone.state = repair_pb2.REPAIR_STATE_SUCCEEDED
        alone.ended_at.CopyFrom(stamp(rig.clock.now()))
        end = node_link_pb2.SpoolRecord(sequence=2, recorded_at=stamp(rig.clock.now()), repair_report=alone)
        await stream.send(spool=batch([event(rig, 1, CLEARED, condition(rig, host)), end]))
        await rig.until_node(host.node_id, lambda node: node.state is NodeState.READY)
    page = await rig.store.read(lambda tx: incidents.page(tx, IncidentFilter(), PageRequest(10)))
    assert [one.state for one in page.items] == [IncidentState.RESOLVED]


async def test_what_a_host_has_mended_alone_is_told_once_and_with_what_was_wrong(rig: Rig, healing: None) -> None:
    host = await rig.join("alpha")
    now = stamp(rig.clock.now())
    alone = repair_pb2.RepairReport(
        repair_id="r-0123456789ab",
        origin=repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY,
        rung=RESET,
        state=repair_pb2.REPAIR_STATE_SUCCEEDED,
        condition_ids=["gpu/xid-79"],
        policy_version=3,
        ended_at=now,
    )
    async with greeted(rig, host, repair=alone) as stream:
        wrong = condition(rig, host)
        end = node_link_pb2.SpoolRecord(sequence=2, recorded_at=now, repair_report=alone)
        await stream.send(spool=batch([event(rig, 1, RAISED, wrong), end, event(rig, 3, CLEARED, wrong)]))
        await acked(stream, 3)
        page = await rig.until(
            lambda tx: incidents.page(tx, IncidentFilter(), PageRequest(10)),
            lambda page: any(one.state is IncidentState.RESOLVED for one in page.items),
        )
    (incident,) = page.items
    assert [one.id for one in incident.conditions] == ["gpu/xid-79"]
    assert len(incident.repairs) == 1


async def test_an_order_that_its_host_has_not_begun_is_withdrawn_while_everything_is_stopped(
    rig: Rig, healing: None
) -> None:
    host = await rig.join("alpha")
    admin = Principal(UserId("u-admin"), "root@localhost", Role.ADMIN, CredentialKind.PASSWORD, "credential")
    async with greeted(rig, host):
        await rig.propose(RepairNode(host.node_id, Rung.VERIFY, "a test wants it"))
    await rig.governor.set_kill_switch(engaged=True, principal=admin, reason="storm")
    async with greeted(rig, host) as stream:
        assert not (await stream.next("desired_state")).desired_state.HasField("repair")
        await rig.governor.set_kill_switch(engaged=False, principal=admin, reason="over")
        order = await ordered(stream)
        await rig.governor.set_kill_switch(engaged=True, principal=admin, reason="storm")
        assert not (await stream.next("desired_state")).desired_state.HasField("repair")
        await rig.governor.set_kill_switch(engaged=False, principal=admin, reason="over")
        await ordered(stream)
        await stream.send(repair_report=progress(order, repair_pb2.REPAIR_STATE_RUNNING))
        await rig.until(
            lambda tx: repairs.unfinished(tx, host.node_id),
            lambda one: one is not None and one.state is RepairState.RUNNING,
        )
        await rig.governor.set_kill_switch(engaged=True, principal=admin, reason="storm")
    async with greeted(rig, host) as stream:
        assert (await ordered(stream)).id == order.id  # what has begun comes to its end
