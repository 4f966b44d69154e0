"""Many hosts in trouble at one moment: they are treated together, and come out as if each had been treated alone."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from sqlalchemy import event, update
from sqlmodel import col

from control_plane.governor import drains, health, holds
from control_plane.governor import hosts as node_books
from control_plane.governor.health import Record
from control_plane.model.bounds import BoundScope
from control_plane.model.health import HealthEvent, HealthEventKind
from control_plane.model.identity import Role
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.model.repair import RepairState
from control_plane.store import audit, bounds, events, nodes
from control_plane.store.database import Tx
from control_plane.store.health_tables import IncidentRow
from control_plane.store.tables import NodeRow
from control_plane.urgency import STORM
from orquanta.ledger.chain import record_hash
from tests.control_plane.clinic import POLICY, Clinic
from tests.control_plane.storms import HOSTS, breaks, storm, told
from tests.control_plane.world import World, gpus, inventory, spec

SIZES = (HOSTS, STORM + 8)
"""A few, which are treated at once, and so many that all of them are taken out of service first."""


@pytest.fixture
def any_clinic(any_world: World) -> Clinic:
    return Clinic.of(any_world, POLICY)


@pytest.mark.parametrize("number", SIZES)
async def test_each_host_of_a_storm_is_told_of_as_one_alone_is(any_clinic: Clinic, number: int) -> None:
    clinic = any_clinic
    alone = await clinic.world.node("alone", gpu=2)
    await clinic.treat()
    await clinic.raised(alone, "gpu/xid-119")
    await clinic.treat()
    hosts = await storm(clinic, number)
    await clinic.treat()
    one = await clinic.incident(alone)
    assert [kind for kind, _ in told(one)] == ["detected", "cordoned", "drained", "repair.ordered"]
    for host in hosts:
        incident = await clinic.incident(host)
        repair = await clinic.repair(host)
        assert told(incident) == told(one)
        assert (incident.state, incident.diagnosis) == (one.state, one.diagnosis.replace(alone.name, host.name))
        assert (repair.state, repair.sent_at is not None) == (RepairState.PENDING, True)
        assert await clinic.state(host) is NodeState.REPAIRING


async def test_watchers_hear_the_same_of_each_host_of_a_storm_as_of_one_alone(clinic: Clinic) -> None:
    alone = await clinic.world.node("alone", gpu=2)
    await clinic.treat()
    await clinic.raised(alone, "gpu/xid-119")
    await clinic.treat()
    hosts = await storm(clinic)
    await clinic.treat()
    heard = await clinic.world.store.read(lambda tx: events.after(tx, 0, limit=10_000))
    assert [one.sequence for one in heard] == list(range(heard[0].sequence, heard[0].sequence + len(heard)))

    def of(host: Node) -> list[str]:
        return [one.kind for one in heard if host.id in (one.id, one.parent_id)]

    assert "node.repair_changed" in of(alone)
    for host in hosts:
        assert of(host) == of(alone)


@pytest.mark.parametrize("number", SIZES)
async def test_the_audit_of_a_storm_is_one_unbroken_chain(any_clinic: Clinic, number: int) -> None:
    hosts = await storm(any_clinic, number)
    await any_clinic.treat()
    records = await any_clinic.world.store.read(lambda tx: audit.ledger(tx, after_id=0, limit=10_000))
    for before, record in pairwise(records):
        assert record.id == before.id + 1
        assert record.previous_hash == before.hash
        assert record.hash == record_hash(before.hash, record.canonical)
    shown = [record.shown or {} for record in records]
    actions = Counter(one["action"] for one in shown)
    assert (actions["incident.opened"], actions["repair_node.done"]) == (number, number)
    assert {one["node_id"] for one in shown} >= {host.id for host in hosts}


@pytest.mark.parametrize("number", SIZES)
async def test_no_bound_is_exceeded_by_a_storm_that_is_treated_together(any_clinic: Clinic, number: int) -> None:
    await any_clinic.bound(BoundScope.FLEET, 5)
    await any_clinic.bound(BoundScope.RACK, 2)
    hosts = await storm(any_clinic, number)
    await any_clinic.treat()
    out = [host for host in hosts if await any_clinic.is_out(host)]
    assert len(out) == 5
    assert max(Counter(host.labels["rack"] for host in out).values()) == 2
    for host in hosts:
        if host not in out:
            assert "out of service" in (await any_clinic.incident(host)).status_reason


async def test_counts_follow_each_change_of_a_transaction_as_the_database_would_count(any_clinic: Clinic) -> None:
    hosts = await storm(any_clinic, 8)
    dice = random.Random(7)
    changes: list[Callable[[Tx, Node], object]] = [
        lambda tx, node: holds.hold(tx, node, dice.choice(list(NodeHold)), "a test wants it"),
        holds.release,
        lambda tx, node: node_books.node_lost(tx, node.id, "silent"),
        lambda tx, node: node_books.node_connected(tx, node.id, inventory(node.name, gpus(node.name, 2)), zombies=0),
        lambda tx, node: nodes.seen(tx, [node.id], tx.now),
    ]

    def compare(tx: Tx) -> None:
        bounds.count(tx)
        for _ in range(40):
            change = dice.choice(changes)
            change(tx, nodes.resolve(tx, dice.choice(hosts).id))
            followed = [(bounds.levels(tx, one.id), bounds.fleet(tx)) for one in hosts]
            bounds.recount(tx)
            assert followed == [(bounds.levels(tx, one.id), bounds.fleet(tx)) for one in hosts]
            bounds.count(tx)

    await any_clinic.world.store.write(compare)


async def test_a_host_that_cannot_be_treated_keeps_no_other_from_it(clinic: Clinic) -> None:
    hosts = await storm(clinic)
    broken = hosts[4]

    def spoil(tx: Tx) -> None:
        unreadable = {"gpus": "none that anybody could read"}
        tx.session.execute(update(NodeRow).where(col(NodeRow.id) == broken.id).values(inventory=unreadable))

    await clinic.world.store.write(spoil)
    await clinic.treat()
    for host in hosts:
        ordered = await clinic.maybe_repair(host)
        assert (ordered is None) == (host is broken)


async def test_an_incident_that_cannot_be_read_keeps_no_other_host_from_being_treated(clinic: Clinic) -> None:
    (first,) = await storm(clinic, 1)
    await clinic.treat()

    def spoil(tx: Tx) -> None:
        of_a_later_version = [{"kind": "what nobody here has heard of"}]
        its = col(IncidentRow.node_id) == first.id
        tx.session.execute(update(IncidentRow).where(its).values(conditions=of_a_later_version))

    await clinic.world.store.write(spoil)
    hosts = [await clinic.world.node(f"other-{index}", gpu=2) for index in range(6)]
    await breaks(clinic, hosts)
    await clinic.passes(100)  # so that the first one is looked at with them
    assert all([await clinic.maybe_repair(host) for host in hosts])


async def test_an_order_that_waits_for_jobs_which_stop_already_says_so(clinic: Clinic) -> None:
    user = await clinic.world.user("ada")
    host = await clinic.world.node("host", gpu=2)
    await clinic.world.launch(user, spec("job"))
    await clinic.world.place("job", (host, [0]))
    await clinic.treat()
    await clinic.world.store.write(
        lambda tx: drains.move_jobs(tx, host.id, gpu_uuids=(), reason="a person wants it empty", by="ada")
    )
    await breaks(clinic, [host])
    await clinic.treat()
    await clinic.passes(1)
    reason = (await clinic.incident(host)).status_reason
    assert reason == "waits until the jobs that are in the way have moved"


async def test_what_the_database_refuses_for_one_host_is_done_for_the_others(clinic: Clinic) -> None:
    hosts = await storm(clinic)
    refused = hosts[7]

    def refuse(tx: Tx) -> None:
        trigger = f"CREATE TRIGGER refuse BEFORE INSERT ON repairs WHEN NEW.node_id = '{refused.id}'"
        tx.session.connection().exec_driver_sql(f"{trigger} BEGIN SELECT RAISE(ABORT, 'not this one'); END")

    await clinic.world.store.write(refuse)
    await clinic.treat()
    for host in hosts:
        ordered = await clinic.maybe_repair(host)
        assert (ordered is None) == (host is refused)
    assert not await clinic.is_out(refused)


async def test_a_storm_that_begins_while_everything_is_stopped_waits_and_is_treated_when_released(
    clinic: Clinic,
) -> None:
    admin = await clinic.world.principal("root", Role.ADMIN)
    await clinic.world.governor.set_kill_switch(engaged=True, principal=admin, reason="look first")
    hosts = await storm(clinic)
    await clinic.treat()
    assert not any([await clinic.is_out(host) for host in hosts])
    assert {(await clinic.incident(host)).status_reason for host in hosts} == {"waits: all effects are stopped"}
    await clinic.world.governor.set_kill_switch(engaged=False, principal=admin, reason="go on")
    await clinic.treat()
    assert all([await clinic.is_out(host) for host in hosts])


async def test_jobs_move_away_from_every_host_of_a_storm(clinic: Clinic) -> None:
    user = await clinic.world.user("ada")
    hosts = [await clinic.world.node(f"host-{index}", gpu=2) for index in range(6)]
    for index, host in enumerate(hosts[:3]):
        await clinic.world.launch(user, spec(f"job-{index}"))
        await clinic.world.place(f"job-{index}", (host, [0]))
    await clinic.treat()
    await breaks(clinic, hosts)
    await clinic.treat()
    for index, host in enumerate(hosts):
        ordered = await clinic.repair(host)
        assert (ordered.sent_at is None) == (index < 3), "an order waits for the jobs that are in its way"
    for index in range(3):
        assert (await clinic.world.newest(f"job-{index}")).stop_requested


async def test_a_condition_that_ends_and_comes_back_in_one_write_is_there_as_it_came_back(any_clinic: Clinic) -> None:
    hosts = await storm(any_clinic, 3)
    now = any_clinic.world.clock.now()

    def take(tx: Tx) -> None:
        health.load(tx, [host.id for host in hosts])
        for host in hosts:
            one = any_clinic.trouble("gpu/xid-119", host)
            over = HealthEvent("event-2", HealthEventKind.CLEARED, one, now)
            again = HealthEvent("event-3", HealthEventKind.RAISED, replace(one, summary="it is back"), now)
            health.take(tx, host.id, "spool-1", [Record(2, now, over), Record(3, now, again)], live_from=None)

    await any_clinic.world.store.write(take)
    for host in hosts:
        assert [one.summary for one in await any_clinic.conditions(host)] == ["it is back"]


async def test_twice_as_many_hosts_take_no_more_statements(clinic: Clinic) -> None:
    engine = clinic.world.store._database.engine
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: sent.append(statement))
    await storm(clinic, STORM)
    sent.clear()
    await clinic.treat()
    few = len(sent)
    more = [await clinic.world.node(f"more-{index:02}", gpu=2) for index in range(2 * STORM)]
    await breaks(clinic, more)
    sent.clear()
    await clinic.treat()
    assert len(sent) <= few + 4
