"""How healing keeps within bounds, obeys people, and takes up what hosts did alone."""

import pytest

from control_plane.agents.incidents.agent import Incidents
from control_plane.fleet.incident_steps import HealingPolicy
from control_plane.governor.governor import Governor
from control_plane.governor.rules import Limits
from control_plane.model.action import (
    DrainNode,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
)
from control_plane.model.bounds import BoundScope
from control_plane.model.identity import Role
from control_plane.model.incident import IncidentState
from control_plane.model.job import ExitReason
from control_plane.model.node import NodeHold, NodeState
from control_plane.model.repair import RepairOrigin, RepairState, Rung
from control_plane.store import actions, events, nodes
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import DEFAULTS, ENDED, LIMITS, World, principal, spec


async def test_one_repair_waits_for_another_when_too_many_are_out_of_service(clinic: Clinic) -> None:
    await clinic.bound(BoundScope.FLEET, 1)
    alpha, beta = await clinic.world.node("alpha"), await clinic.world.node("beta")
    await clinic.raised(alpha)
    clinic.world.clock.advance(1)
    await clinic.raised(beta)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.REPAIRING
    assert await clinic.state(beta) is NodeState.READY
    waiting = await clinic.incident(beta)
    assert waiting.status_reason == "waits: 1 of 1 hosts of the fleet are out of service"
    denied = await clinic.world.store.read(actions.awaiting)
    assert denied == ()
    await clinic.succeeds(alpha, "gpu/xid-79")
    await clinic.treat()
    assert await clinic.state(beta) is NodeState.REPAIRING


async def test_a_waiting_repair_floods_no_books(clinic: Clinic) -> None:
    await clinic.bound(BoundScope.FLEET, 0)
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    before = await clinic.world.store.read(events.newest)
    for _ in range(5):
        await clinic.passes(2)
    assert await clinic.world.store.read(events.newest) == before


async def test_a_waiting_trouble_that_is_over_needs_no_repair(clinic: Clinic) -> None:
    await clinic.bound(BoundScope.FLEET, 0)
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.cleared(alpha)
    await clinic.treat()
    incident = await clinic.incident(alpha)
    assert (incident.state, incident.status_reason) == (IncidentState.RESOLVED, "it ended by itself")


async def test_the_kill_switch_stops_repairs_and_they_go_on_after_it(clinic: Clinic) -> None:
    world = clinic.world
    admin, alpha = await world.principal("root", Role.ADMIN), await world.node("alpha")
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    await clinic.raised(alpha)
    await clinic.treat()
    assert (await clinic.incident(alpha)).status_reason == "waits: all effects are stopped"
    assert await clinic.maybe_repair(alpha) is None
    await world.governor.set_kill_switch(engaged=False, principal=admin, reason="")
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.REPAIRING


async def test_a_repair_that_jobs_kept_waiting_does_not_start_while_everything_is_stopped(clinic: Clinic) -> None:
    world = clinic.world
    admin, alpha, user = await world.principal("root", Role.ADMIN), await world.node("alpha"), await world.user()
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await clinic.raised(alpha)
    await clinic.treat()
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    await world.report("job", ENDED, ExitReason.STOPPED)
    await clinic.treat()
    assert (await clinic.repair(alpha)).sent_at is None
    await world.governor.set_kill_switch(engaged=False, principal=admin, reason="")
    await clinic.treat()
    assert (await clinic.repair(alpha)).sent_at is not None


async def test_what_a_host_did_alone_is_followed_and_recorded(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.alone(alpha, "local-1", Rung.RESET_GPU, RepairState.RUNNING, "gpu/xid-79")
    assert await clinic.state(alpha) is NodeState.REPAIRING
    await clinic.treat()
    assert [one.origin for one in (await clinic.incident(alpha)).repairs] == [RepairOrigin.LOCAL_POLICY]
    await clinic.cleared(alpha)
    for _ in range(2):
        await clinic.alone(alpha, "local-1", Rung.RESET_GPU, RepairState.SUCCEEDED, "gpu/xid-79")
        await clinic.treat()
    (incident,) = await clinic.incidents(alpha)
    assert (incident.state, len(incident.repairs)) == (IncidentState.RESOLVED, 1)
    assert await clinic.state(alpha) is NodeState.READY
    assert "repair.local" in [record.action for record in await clinic.world.audit(node_id=alpha.id)]


async def test_the_ladder_goes_on_from_where_a_host_alone_has_failed(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.alone(alpha, "local-1", Rung.RESET_GPU, RepairState.FAILED, "gpu/xid-79")
    await clinic.treat()
    assert (await clinic.repair(alpha)).rung is Rung.RELOAD_DRIVER


async def test_a_host_that_quarantined_itself_stays_so(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.alone(alpha, "local-1", Rung.QUARANTINE, RepairState.SUCCEEDED, "gpu/xid-79")
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.QUARANTINED
    assert (await clinic.incident(alpha)).state is IncidentState.ESCALATED


async def test_a_fresh_agent_goes_on_where_the_last_one_stopped_and_does_nothing_twice(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")

    async def restarted() -> None:
        clinic.agent = Incidents(clinic.world.store, clinic.world.governor)
        await clinic.treat()
        await clinic.treat()

    await clinic.raised(alpha)
    await restarted()
    ordered = await clinic.repair(alpha)
    await restarted()
    assert await clinic.repair(alpha) == ordered
    await clinic.reports(alpha, RepairState.RUNNING)
    await restarted()
    await clinic.cleared(alpha)
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await restarted()
    (incident,) = await clinic.incidents(alpha)
    assert (incident.state, len(incident.repairs)) == (IncidentState.RESOLVED, 1)
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_person_drains_a_node_and_it_stays_drained_until_released(clinic: Clinic) -> None:
    world = clinic.world
    user, operator, alpha = await world.user(), await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await world.propose(DrainNode(alpha.id, "new fans"), user=operator, person=True)
    assert await clinic.state(alpha) is NodeState.DRAINING
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.DRAINING
    await world.report("job", ENDED, ExitReason.STOPPED)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.CORDONED
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.succeeds(alpha, "gpu/xid-79")
    assert await clinic.state(alpha) is NodeState.CORDONED
    await world.propose(ReleaseNode(alpha.id, "fans are in"), user=operator, person=True)
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_person_orders_a_repair_that_opens_an_incident_of_its_own(clinic: Clinic) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    action = await world.propose(RepairNode(alpha.id, Rung.VERIFY, "is it well?"), user=operator, person=True)
    assert action.outcome.startswith("verify ordered")
    assert await clinic.state(alpha) is NodeState.VERIFYING
    incident = await clinic.incident(alpha)
    assert incident.requested_by == operator.email
    await clinic.treat()
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await clinic.treat()
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_test_that_fails_takes_the_node_out_of_service(clinic: Clinic) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.propose(RepairNode(alpha.id, Rung.VERIFY, "is it well?"), user=operator, person=True)
    await clinic.fails(alpha)
    assert await clinic.state(alpha) is NodeState.QUARANTINED
    assert (await clinic.incident(alpha)).state is IncidentState.ESCALATED


async def test_a_dry_run_changes_nothing(clinic: Clinic) -> None:
    world = clinic.world
    user, operator, alpha = await world.user(), await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    effect = RepairNode(alpha.id, Rung.REBOOT_HOST, "what if?", dry_run=True)
    await world.propose(effect, user=operator, person=True)
    ordered = await clinic.repair(alpha)
    assert ordered.dry_run
    assert ordered.sent_at is not None
    assert not (await world.newest("job")).stop_requested
    await clinic.treat()
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.READY
    assert await clinic.incidents(alpha) == ()


async def test_a_quarantined_node_can_be_tested_and_stays_quarantined(clinic: Clinic) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.propose(QuarantineNode(alpha.id, "smells"), user=operator, person=True)
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await world.propose(RepairNode(alpha.id, Rung.VERIFY, "is it well?"), user=operator, person=True)
    await clinic.treat()
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.QUARANTINED
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED
    await world.propose(ReleaseNode(alpha.id, "aired"), user=operator, person=True)
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_condition_on_a_quarantined_node_opens_no_incident(clinic: Clinic) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.propose(QuarantineNode(alpha.id, "smells"), user=operator, person=True)
    await clinic.raised(alpha)
    await clinic.treat()
    assert await clinic.incidents(alpha) == ()


@pytest.mark.parametrize("hold", list(NodeHold))
async def test_a_node_that_was_lost_comes_back_as_what_it_was(clinic: Clinic, hold: NodeHold) -> None:
    world = clinic.world
    alpha = await world.node("alpha")
    await world.store.write(lambda tx: nodes.set_hold(tx, alpha.id, hold, state=NodeState.DRAINING, status_reason="x"))
    await world.lose(alpha)
    assert await clinic.state(alpha) is NodeState.LOST
    assert (await world.come_back(alpha)).state is hold.state


async def test_a_repair_that_needs_approval_waits_for_it(world: World) -> None:
    limits = Limits(LIMITS.approval_above_usd, LIMITS.max_gpus_per_user, frozenset({Rung.REBOOT_HOST}))
    world.governor = Governor(world.store, limits=limits, defaults=DEFAULTS, prices=world.governor.prices)
    clinic = Clinic.of(world)
    alpha = await world.node("alpha")
    await clinic.raised(alpha, "host/hung", None, repair=Rung.REBOOT_HOST)
    await clinic.treat()
    (waiting,) = await world.store.read(actions.awaiting)
    assert waiting.id in (await clinic.incident(alpha)).status_reason
    await clinic.passes(5)
    assert len(await world.store.read(actions.awaiting)) == 1
    operator = await world.principal("op")
    await world.governor.approve(waiting.id, approver=operator, hash=waiting.hash, reason="go")
    await clinic.treat()
    assert (await clinic.repair(alpha)).rung is Rung.REBOOT_HOST


async def test_a_repair_that_a_person_rejects_is_left_to_them(world: World) -> None:
    limits = Limits(LIMITS.approval_above_usd, LIMITS.max_gpus_per_user, frozenset({Rung.REBOOT_HOST}))
    world.governor = Governor(world.store, limits=limits, defaults=DEFAULTS, prices=world.governor.prices)
    clinic = Clinic.of(world)
    alpha = await world.node("alpha")
    await clinic.raised(alpha, "host/hung", None, repair=Rung.REBOOT_HOST)
    await clinic.treat()
    (waiting,) = await world.store.read(actions.awaiting)
    operator = principal(await world.user("op", role=Role.OPERATOR))
    await world.governor.reject(waiting.id, approver=operator, reason="not now")
    await clinic.treat()
    incident = await clinic.incident(alpha)
    assert (incident.taken_over, incident.acknowledged_by) == (True, operator.email)
    await clinic.passes(3600)
    assert await clinic.maybe_repair(alpha) is None


async def test_people_repair_where_automatic_repairs_are_switched_off(world: World) -> None:
    clinic = Clinic.of(world, HealingPolicy(automatic=False))
    alpha = await world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    assert "switched off" in (await clinic.incident(alpha)).status_reason
    assert await clinic.maybe_repair(alpha) is None
