"""Of many hosts in trouble all are taken out of service first, and none stays so in vain; meanwhile it is urgent."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from typing_extensions import override

from control_plane.agents.incidents.agent import Incidents
from control_plane.agents.incidents.apply import Healer
from control_plane.governor.policy.book import EMPTY
from control_plane.model.bounds import BoundScope
from control_plane.model.health import ConditionSeverity
from control_plane.model.node import NodeState
from control_plane.store import audit, conditions, events
from control_plane.urgency import STORM, Urgency
from tests.control_plane.clinic import POLICY, Clinic
from tests.control_plane.governor.policy_texts import rule, under
from tests.control_plane.storms import clears, storm, told
from tests.control_plane.world import World


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


class Noted(Urgency):
    """Counts how often something was urgent."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0

    @override
    @contextmanager
    def urgent(self) -> Iterator[None]:
        self.begun += 1
        with super().urgent():
            yield


async def test_a_storm_is_urgent_while_it_is_treated_and_hosts_that_wait_for_others_are_not(world: World) -> None:
    clinic, urgency = Clinic.of(world), Noted()
    agent = Incidents(world.store, world.governor, POLICY, urgency=urgency)
    await agent.round()
    await clinic.bound(BoundScope.FLEET, 0)
    for number in range(STORM):
        await clinic.raised(await world.node(f"h{number}", gpu=2))
    await agent.round()
    assert urgency.begun
    before = urgency.begun
    other = await world.node("other", gpu=2)
    for _ in range(3):
        await world.store.write(lambda tx: conditions.announce(tx, other.id, "nothing"))
        await agent.round()
    assert urgency.begun == before


async def test_many_changes_that_ask_for_nothing_are_not_urgent(world: World) -> None:
    clinic, urgency = Clinic.of(world), Noted()
    agent = Incidents(world.store, world.governor, POLICY, urgency=urgency)
    await agent.round()
    for number in range(STORM):
        host = await world.node(f"h{number}", gpu=2)
        await clinic.raised(host, severity=ConditionSeverity.INFO, repair=None)
    await agent.round()
    assert not urgency.begun
