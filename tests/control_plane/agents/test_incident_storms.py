"""Many hosts in trouble at one moment: they are treated together, and come out as if each had been treated alone."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from sqlalchemy import event, update
from sqlmodel import col
from typing_extensions import override

from control_plane.agents.incidents.agent import Incidents
from control_plane.agents.incidents.apply import Healer
from control_plane.governor import drains, health, holds
from control_plane.governor import hosts as node_books
from control_plane.governor.health import Record
from control_plane.governor.policy.book import EMPTY
from control_plane.model.bounds import BoundScope
from control_plane.model.health import ConditionSeverity, HealthEvent, HealthEventKind
from control_plane.model.identity import Role
from control_plane.model.incident import Incident
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.model.repair import RepairState
from control_plane.store import audit, bounds, conditions, events, nodes
from control_plane.store.database import Tx
from control_plane.store.health_tables import IncidentRow
from control_plane.store.tables import NodeRow
from control_plane.urgency import STORM, Urgency
from orquanta.ledger.chain import record_hash
from tests.control_plane.clinic import POLICY, Clinic
from tests.control_plane.governor.policy_texts import rule, under
from tests.control_plane.world import World, gpus, inventory, spec

HOSTS = 12
SIZES = (HOSTS, STORM + 8)
"""A few, which are treated at once, and so many that all of them are taken out of service first."""


@pytest.fixture
def any_clinic(any_world: World) -> Clinic:
    return Clinic.of(any_world, POLICY)


async def storm(clinic: Clinic, number: int = HOSTS) -> list[Node]:
    """Hosts that all say at the same moment that they are in trouble; nothing is done about it yet."""
    await clinic.treat()
    hosts = [
        await clinic.world.node(f"host-{index:02}", gpu=2, labels={"rack": f"rack-{index % 3}", "pool": "train"})
        for index in range(number)
    ]
    await breaks(clinic, hosts)
    return hosts


async def breaks(clinic: Clinic, hosts: Sequence[Node]) -> None:
    now = clinic.world.clock.now()

    def take(tx: Tx) -> None:
        health.load(tx, [host.id for host in hosts])
        for host in hosts:
            raised = HealthEvent("event-1", HealthEventKind.RAISED, clinic.trouble("gpu/xid-119", host), now)
            health.take(tx, host.id, "spool-1", [Record(1, now, raised)], live_from=None)

    await clinic.world.store.write(take)


def clears(clinic: Clinic, host: Node, tx: Tx) -> None:
    now = clinic.world.clock.now()
    over = HealthEvent("event-2", HealthEventKind.CLEARED, clinic.trouble("gpu/xid-119", host), now)
    health.take(tx, host.id, "spool-1", [Record(2, now, over)], live_from=None)


def told(incident: Incident) -> list[tuple[str, str]]:
    """An incident's entries in words that are the same on every host."""
    own = {incident.id, incident.node_name, *(repair.id for repair in incident.repairs)}
    found = []
    for entry in incident.entries:
        message = entry.message
        for name in own:
            message = message.replace(name, "…")
        found.append((entry.kind, message))
    return found


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


async def test_a_storm_is_urgent_while_it_is_treated_and_hosts_that_wait_for_others_are_not(world: World) -> None:
    clinic, begun = Clinic.of(world), list[str]()

    class Noted(Urgency):
        @override
        @contextmanager
        def urgent(self) -> Iterator[None]:
            begun.append("urgent")
            with super().urgent():
                yield

    agent = Incidents(world.store, world.governor, POLICY, urgency=Noted())
    await agent.round()
    await clinic.bound(BoundScope.FLEET, 0)
    for number in range(STORM):
        await clinic.raised(await world.node(f"h{number}", gpu=2))
    await agent.round()
    assert begun
    begun.clear()
    other = await world.node("other", gpu=2)
    for _ in range(3):
        await world.store.write(lambda tx: conditions.announce(tx, other.id, "nothing"))
        await agent.round()
    assert not begun


async def test_all_of_many_hosts_are_out_of_service_before_the_first_is_ordered_its_repair(clinic: Clinic) -> None:
    hosts = await storm(clinic, STORM + 8)
    await clinic.treat()
    heard = await clinic.world.store.read(lambda tx: events.after(tx, 0, limit=10_000))
    out = [one.sequence for one in heard if one.kind == "node.draining"]
    ordered = [one.sequence for one in heard if one.kind == "node.repair_changed"]
    assert len(out) == len(ordered) == len(hosts)
    assert max(out) < min(ordered)
    records = await clinic.world.store.read(lambda tx: audit.ledger(tx, after_id=0, limit=10_000))
    [taken] = [one.shown for one in records if (one.shown or {})["action"] == "nodes.take_out"]
    assert taken is not None
    assert taken["outcome"] == "done"


async def test_hosts_taken_out_by_an_agent_that_was_gone_before_it_ordered_anything_are_repaired(
    clinic: Clinic,
) -> None:
    hosts = await storm(clinic, 2)
    world = clinic.world
    healer = Healer(world.governor, POLICY)
    ids = [host.id for host in hosts]
    await world.store.write(lambda tx: healer.take_out(tx, ids))
    assert {await clinic.state(host) for host in hosts} == {NodeState.DRAINING}
    await Incidents(world.store, world.governor, POLICY).round()
    for host in hosts:
        assert await clinic.state(host) is NodeState.REPAIRING
        assert (await clinic.repair(host)).sent_at is not None


async def test_hosts_whose_trouble_is_over_before_anything_is_ordered_are_back_in_service(clinic: Clinic) -> None:
    hosts = await storm(clinic, 2)
    world = clinic.world
    healer = Healer(world.governor, POLICY)
    await world.store.write(lambda tx: healer.take_out(tx, [host.id for host in hosts]))
    for host in hosts:
        await clinic.world.store.write(partial(clears, clinic, host))
    await clinic.treat()
    for host in hosts:
        assert await clinic.state(host) is NodeState.READY


async def test_a_host_whose_repair_needs_approval_goes_on_until_it_is_given(clinic: Clinic) -> None:
    [host] = await storm(clinic, 1)
    under(clinic.world, rule("action.kind == 'repair_node'", "require_approval"))
    healer = Healer(clinic.world.governor, POLICY)
    await clinic.world.store.write(lambda tx: healer.take_out(tx, [host.id]))
    assert await clinic.state(host) is NodeState.READY


async def test_where_rules_of_files_look_at_the_fleet_a_storm_is_repaired_up_to_what_they_allow(clinic: Clinic) -> None:
    under(clinic.world, rule("action.kind == 'repair_node' && fleet.share > 0.2", "deny"))
    hosts = await storm(clinic, STORM + 8)
    await clinic.treat()
    out = [host for host in hosts if await clinic.is_out(host)]
    assert out
    assert all([(await clinic.repair(host)).sent_at is not None for host in out])


async def test_a_host_that_was_taken_out_in_vain_is_given_back(clinic: Clinic) -> None:
    [host] = await storm(clinic, 1)
    world = clinic.world
    healer = Healer(world.governor, POLICY)
    await world.store.write(lambda tx: healer.take_out(tx, [host.id]))
    assert await clinic.state(host) is NodeState.DRAINING
    under(world, rule("action.kind == 'repair_node'", "deny"))
    await clinic.treat()
    assert await clinic.state(host) is NodeState.READY
    incident = await clinic.incident(host)
    assert not incident.state.ended
    assert [kind for kind, _ in told(incident)] == ["detected", "cordoned", "released"]
    world.governor.policies.put(EMPTY)
    await clinic.passes(120)
    assert await clinic.state(host) is NodeState.REPAIRING


async def test_many_changes_that_ask_for_nothing_are_not_urgent(world: World) -> None:
    clinic = Clinic.of(world)
    agent = Incidents(world.store, world.governor, POLICY, urgency=world_is_calm())
    await agent.round()
    for number in range(STORM):
        host = await world.node(f"h{number}", gpu=2)
        await clinic.raised(host, severity=ConditionSeverity.INFO, repair=None)
    await agent.round()


def world_is_calm() -> Urgency:
    class Calm(Urgency):
        @override
        @contextmanager
        def urgent(self) -> Iterator[None]:
            raise AssertionError("nothing is urgent")
            yield

    return Calm()
