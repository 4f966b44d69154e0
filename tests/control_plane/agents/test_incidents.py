from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from control_plane.agents.incidents.agent import Incidents
from control_plane.fleet.incident_steps import HealingPolicy
from control_plane.governor import repairs
from control_plane.governor.governor import Governor
from control_plane.governor.rules import Limits
from control_plane.model.action import (
    ActionState,
    DrainNode,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    RevokeNode,
    UpdateCondition,
)
from control_plane.model.bounds import BoundScope
from control_plane.model.health import ConditionSeverity
from control_plane.model.identity import Role
from control_plane.model.incident import IncidentState
from control_plane.model.job import ExitReason, JobState
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.model.repair import RepairOrigin, RepairReport, RepairState, Rung
from control_plane.store import actions, events, incidents, nodes
from control_plane.store import repairs as repair_store
from control_plane.store.actions import ActionFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.clinic import POLICY, Clinic, gpu
from tests.control_plane.world import DEFAULTS, ENDED, LIMITS, RUNNING, World, principal, spec


@pytest.fixture
def clinic(world: World) -> Clinic:
    return Clinic.of(world)


async def test_a_fault_is_repaired_verified_and_its_node_serves_again(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.treat()
    await clinic.raised(alpha)
    await clinic.treat()
    repair = await clinic.repair(alpha)
    assert (repair.rung, repair.gpu_uuids) == (Rung.RESET_GPU, (gpu(alpha),))
    assert repair.sent_at is not None
    assert await clinic.state(alpha) is NodeState.REPAIRING
    assert (await clinic.incident(alpha)).state is IncidentState.REPAIRING
    await clinic.reports(alpha, RepairState.RUNNING)
    await clinic.reports(alpha, RepairState.VERIFYING)
    assert await clinic.state(alpha) is NodeState.VERIFYING
    assert (await clinic.incident(alpha)).state is IncidentState.VERIFYING
    await clinic.cleared(alpha)
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.READY
    incident = await clinic.incident(alpha)
    assert incident.state is IncidentState.RESOLVED
    assert [entry.kind for entry in incident.entries] == [
        "detected",
        "cordoned",
        "drained",
        "repair.ordered",
        "repair.running",
        "repair.verifying",
        "condition.over",
        "repair.succeeded",
        "resolved",
    ]


async def test_a_diagnosis_cites_its_evidence_and_every_phase_is_timed(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    clinic.world.clock.advance(1)
    await clinic.treat()
    clinic.world.clock.advance(10)
    await clinic.reports(alpha, RepairState.VERIFYING)
    clinic.world.clock.advance(5)
    await clinic.cleared(alpha)
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await clinic.treat()
    incident = await clinic.incident(alpha)
    assert "ev-gpu/xid-79" in incident.diagnosis
    assert "reset gpu" in incident.diagnosis
    timings = incident.timings
    assert (timings.detect_seconds, timings.cordon_seconds, timings.drain_seconds) == (1, 0, 0)
    assert (timings.repair_seconds, timings.verify_seconds, timings.total_seconds) == (10, 5, 16)


async def test_nothing_is_done_about_what_asks_for_nothing(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha, severity=ConditionSeverity.WARNING, repair=None)
    await clinic.treat()
    assert await clinic.incidents(alpha) == ()
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_fatal_condition_that_no_repair_fits_waits_in_an_incident_until_it_is_over(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha, "host/disk", None, repair=None)
    await clinic.treat()
    incident = await clinic.incident(alpha)
    assert (incident.state, incident.status_reason.split(":")[0]) == (IncidentState.OPEN, "no repair fits")
    assert await clinic.state(alpha) is NodeState.READY
    await clinic.cleared(alpha, "host/disk")
    await clinic.treat()
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED


async def test_conditions_of_a_node_join_its_one_incident_and_the_repair_fits_them_all(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha, "a", 0, repair=Rung.RESET_GPU)
    await clinic.raised(alpha, "b", 3, repair=Rung.RESET_GPU)
    await clinic.treat()
    assert (await clinic.repair(alpha)).gpu_uuids == (gpu(alpha, 0), gpu(alpha, 3))
    await clinic.raised(alpha, "c", None, repair=Rung.REBOOT_HOST)
    await clinic.treat()
    (incident,) = await clinic.incidents(alpha)
    assert {one.id for one in incident.conditions} == {"a", "b", "c"}
    await clinic.succeeds(alpha, "a", "b")
    assert (await clinic.repair(alpha)).rung is Rung.REBOOT_HOST


async def test_the_next_rung_follows_a_failed_one_up_to_quarantine_with_a_hand_off(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    climbed = []
    while (repair := await clinic.repair(alpha)).rung is not Rung.QUARANTINE:
        climbed.append(repair.rung)
        await clinic.fails(alpha)
    assert climbed == [Rung.RESET_GPU, Rung.RELOAD_DRIVER, Rung.REBOOT_HOST]
    assert await clinic.state(alpha) is NodeState.QUARANTINED
    incident = await clinic.incident(alpha)
    assert incident.state is IncidentState.ESCALATED
    assert repair.sent_at is not None
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.QUARANTINED
    assert [one.rung for one in (await clinic.incident(alpha)).repairs][-1] is Rung.QUARANTINE


async def test_a_condition_that_outlives_a_repair_that_succeeded_gets_the_next_rung(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.succeeds(alpha)
    assert await clinic.maybe_repair(alpha) is None
    await clinic.passes(16)
    assert (await clinic.repair(alpha)).rung is Rung.RELOAD_DRIVER


async def test_jobs_on_the_gpu_move_first_and_others_on_the_host_go_on(clinic: Clinic) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("hit"), spec("spared"))
    await world.place("hit", (alpha, [0]))
    await world.place("spared", (alpha, [1]))
    await world.report("hit", RUNNING)
    await world.report("spared", RUNNING)
    beta = await world.node("beta")
    await clinic.raised(alpha)
    await clinic.treat()
    assert (await clinic.repair(alpha)).sent_at is None
    assert await clinic.state(alpha) is NodeState.DRAINING
    assert (await world.newest("hit")).stop_requested
    assert not (await world.newest("spared")).stop_requested
    await clinic.treat()
    assert (await clinic.repair(alpha)).sent_at is None
    queued_at = (await world.job("hit")).queued_at
    world.clock.advance(5)
    await world.report("hit", ENDED, ExitReason.STOPPED)
    moved = await world.job("hit")
    assert (moved.state, moved.moves, moved.queued_at) == (JobState.QUEUED, 1, queued_at)
    await clinic.treat()
    assert (await clinic.repair(alpha)).sent_at is not None
    await clinic.scheduler.round()
    assert (await world.newest("hit")).members[0].node_id == beta.id
    assert (await world.job("hit")).epoch == 2
    assert (await clinic.incident(alpha)).timings.drain_seconds == 5


async def test_a_reboot_waits_until_every_job_is_away(clinic: Clinic) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("one"), spec("two"))
    await world.place("one", (alpha, [0]))
    await world.place("two", (alpha, [1]))
    await clinic.raised(alpha, "host/hung", None, repair=Rung.REBOOT_HOST)
    await clinic.treat()
    assert (await world.newest("one")).stop_requested
    assert (await world.newest("two")).stop_requested
    await world.report("one", ENDED, ExitReason.STOPPED)
    await clinic.treat()
    assert (await clinic.repair(alpha)).sent_at is None
    await world.report("two", ENDED, ExitReason.STOPPED)
    await clinic.treat()
    assert (await clinic.repair(alpha)).sent_at is not None


async def test_a_moved_job_has_as_many_attempts_as_before_and_costs_nothing(clinic: Clinic) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, replace(spec("job"), max_attempts=1))
    await world.place("job", (alpha, [0]))
    await world.report("job", RUNNING)
    await clinic.raised(alpha)
    await clinic.treat()
    await world.report("job", ENDED, ExitReason.STOPPED, gpu_seconds=100)
    job = await world.job("job")
    assert (job.state, job.cost_usd) == (JobState.QUEUED, Decimal(0))
    beta = await world.node("beta")
    await world.place("job", (beta, [0]))
    await world.finish("job")
    assert (await world.job("job")).state is JobState.SUCCEEDED


async def test_a_job_that_is_cancelled_while_it_moves_stays_cancelled(clinic: Clinic) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await world.report("job", RUNNING)
    await clinic.raised(alpha)
    await clinic.treat()
    await world.stop("job", user)
    await world.report("job", ENDED, ExitReason.STOPPED)
    assert (await world.job("job")).state is JobState.CANCELLED


async def test_jobs_that_do_not_stop_leave_the_node_to_a_person(clinic: Clinic) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("stuck"))
    await world.place("stuck", (alpha, [0]))
    await world.report("stuck", RUNNING)
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.passes(200)
    incident = await clinic.incident(alpha)
    assert (incident.state, "did not stop" in incident.status_reason) == (IncidentState.ESCALATED, True)
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_an_order_that_is_not_answered_is_escalated(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    ordered = await clinic.repair(alpha)
    await clinic.passes(130)
    assert (await clinic.incident(alpha)).state is IncidentState.REPAIRING
    await clinic.passes(10)
    incident = await clinic.incident(alpha)
    assert (incident.state, "did not answer" in incident.status_reason) == (IncidentState.ESCALATED, True)
    late = await clinic.reports(alpha, RepairState.SUCCEEDED, repair=ordered)
    assert not late.changed
    assert (await clinic.incident(alpha)).repairs[0].state is RepairState.FAILED


async def test_a_repair_that_never_ends_is_escalated(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.reports(alpha, RepairState.RUNNING)
    await clinic.passes(1199)
    assert (await clinic.incident(alpha)).state is IncidentState.REPAIRING
    await clinic.passes(61)
    assert (await clinic.incident(alpha)).state is IncidentState.ESCALATED


async def test_a_trouble_that_keeps_coming_back_stops_the_ladder(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    for _ in range(3):
        await clinic.raised(alpha)
        await clinic.treat()
        await clinic.succeeds(alpha, "gpu/xid-79")
        assert await clinic.state(alpha) is NodeState.READY
        clinic.world.clock.advance(600)
    await clinic.raised(alpha)
    await clinic.treat()
    incident = await clinic.incident(alpha)
    assert (incident.state, "keeps coming back" in incident.status_reason) == (IncidentState.ESCALATED, True)
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_the_same_trouble_after_a_long_time_is_repaired_again(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    for _ in range(5):
        await clinic.raised(alpha)
        await clinic.treat()
        await clinic.succeeds(alpha, "gpu/xid-79")
        clinic.world.clock.advance(4 * 3600)
    assert {one.state for one in await clinic.incidents(alpha)} == {IncidentState.RESOLVED}


async def test_an_acknowledged_condition_is_left_alone(clinic: Clinic) -> None:
    world = clinic.world
    alpha, operator = await world.node("alpha"), await world.user("op", role=Role.OPERATOR)
    await clinic.raised(alpha)
    said = UpdateCondition(alpha.id, "gpu/xid-79", clear=False, by=operator.email, reason="known")
    await world.propose(said, user=operator, person=True)
    await clinic.treat()
    assert await clinic.incidents(alpha) == ()
    await clinic.raised(alpha)  # the host has not heard of it yet
    await clinic.treat()
    assert (await clinic.conditions(alpha))[0].acknowledged_by == operator.email
    assert await clinic.incidents(alpha) == ()


async def test_an_incident_that_a_person_took_over_is_left_alone_and_closes_when_it_is_over(clinic: Clinic) -> None:
    world = clinic.world
    alpha = await world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    incident = await clinic.incident(alpha)
    await world.store.write(
        lambda tx: incidents.acknowledge(tx, incident.id, by="op@example.com", reason="mine", take_over=True)
    )
    await clinic.fails(alpha)
    assert await clinic.maybe_repair(alpha) is None
    operator = await world.user("op", role=Role.OPERATOR)
    await clinic.cleared(alpha)
    await world.propose(ReleaseNode(alpha.id, "fixed the cable"), user=operator, person=True)
    await clinic.treat()
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED
    assert await clinic.state(alpha) is NodeState.READY


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


async def test_a_job_that_is_to_be_moved_is_moved_and_its_gpu_tested(clinic: Clinic) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await clinic.raised(alpha, repair=Rung.MOVE_JOB)
    await clinic.treat()
    await world.report("job", ENDED, ExitReason.STOPPED)
    await clinic.treat()
    repair = await clinic.repair(alpha)
    assert repair.rung is Rung.VERIFY
    assert repair.sent_at is not None
    await clinic.succeeds(alpha, "gpu/xid-79")
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_trouble_that_is_over_though_its_repair_failed_is_tested_first(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.cleared(alpha)
    await clinic.fails(alpha)
    assert (await clinic.repair(alpha)).rung is Rung.VERIFY
    await clinic.succeeds(alpha)
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_node_that_leaves_the_fleet_takes_its_incident_with_it(clinic: Clinic) -> None:
    world = clinic.world
    admin, alpha = await world.user("root", role=Role.ADMIN), await world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await world.propose(RevokeNode(alpha.id, "sold"), user=admin, person=True)
    await clinic.treat()
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED
    assert await clinic.conditions(alpha) == ()


async def test_work_grows_with_changes_not_with_the_fleet(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        await clinic.world.node(f"node-{number}", gpu=1)
    alpha = await clinic.world.node("alpha")
    await clinic.treat()
    looked: list[str] = []
    look = clinic.agent._healer.look

    def counted(*args: object, **kwargs: object) -> object:
        looked.append(str(kwargs.get("node_id", args[-1])))
        return look(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(clinic.agent._healer, "look", counted)
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.treat()
    assert set(looked) == {alpha.id}


async def test_a_repair_that_is_refused_is_tried_again_before_anything_rougher(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    for _ in range(2):
        await clinic.reports(alpha, RepairState.REFUSED)
        await clinic.treat()
        assert await clinic.maybe_repair(alpha) is None
        assert "was refused" in (await clinic.incident(alpha)).status_reason
        await clinic.passes(301)
        assert (await clinic.repair(alpha)).rung is Rung.RESET_GPU
    await clinic.reports(alpha, RepairState.REFUSED)
    await clinic.passes(301)
    assert (await clinic.repair(alpha)).rung is Rung.RELOAD_DRIVER


async def test_a_host_that_refuses_what_a_person_asked_for_goes_on_serving(clinic: Clinic) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.propose(RepairNode(alpha.id, Rung.RESET_GPU, "x"), user=operator, person=True)
    await clinic.reports(alpha, RepairState.REFUSED)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.READY
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED


async def test_a_host_that_does_dry_runs_alone_has_repaired_nothing(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    ordered = await clinic.repair(alpha)
    pretended = RepairReport(
        ordered.id, RepairOrigin.CONTROL_PLANE, ordered.rung, RepairState.SUCCEEDED, dry_run=True, message="would reset"
    )
    await clinic.world.store.write(lambda tx: repairs.apply_report(tx, alpha.id, pretended))
    (done,) = (await clinic.incident(alpha)).repairs
    assert (done.state, "would reset" in done.message) == (RepairState.REFUSED, True)


async def count_actions(clinic: Clinic) -> int:
    return len((await clinic.world.store.read(lambda tx: actions.page(tx, ActionFilter(), PageRequest(500)))).items)


async def test_a_quarantine_that_waits_for_others_to_be_back_floods_no_books(clinic: Clinic) -> None:
    await clinic.bound(BoundScope.FLEET, 1)
    hosts = [await clinic.world.node(name) for name in ("alpha", "beta", "gamma")]
    for host in hosts:
        await clinic.raised(host, repair=Rung.QUARANTINE)
    for _ in range(10):
        await clinic.passes(10)
    assert [await clinic.state(host) for host in hosts].count(NodeState.QUARANTINED) == 1
    assert await count_actions(clinic) == 1
    (quarantined,) = [host for host in hosts if await clinic.is_out(host)]
    released = ReleaseNode(quarantined.id, "exchanged")
    await clinic.cleared(quarantined)
    await clinic.world.propose(released, user=await clinic.world.user("op", role=Role.OPERATOR), person=True)
    for _ in range(3):
        await clinic.passes(10)
    assert [await clinic.state(host) for host in hosts].count(NodeState.QUARANTINED) == 1
    assert await clinic.state(quarantined) is NodeState.READY


async def test_an_escalation_while_everything_is_stopped_waits_and_floods_no_books(clinic: Clinic) -> None:
    admin = principal(await clinic.world.user("root", role=Role.ADMIN))
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.reports(alpha, RepairState.RUNNING)
    await clinic.world.governor.set_kill_switch(engaged=True, principal=admin, reason="storm")
    await clinic.passes(4000)
    for _ in range(10):
        await clinic.passes(10)
    assert await count_actions(clinic) == 1
    assert (await clinic.incident(alpha)).status_reason == "waits: all effects are stopped"
    await clinic.world.governor.set_kill_switch(engaged=False, principal=admin, reason="over")
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_a_service_named_only_by_what_asks_for_no_repair_is_not_restarted(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha, "a", None, repair=Rung.RESTART_SERVICE)
    await clinic.raised(alpha, "b", None, repair=None, service="nvidia-persistenced")
    await clinic.treat()
    assert (await clinic.repair(alpha)).rung is Rung.RELOAD_DRIVER


async def test_a_trouble_that_every_test_ends_and_that_keeps_coming_back_stops_too(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    for _ in range(POLICY.flaps):
        await clinic.raised(alpha, repair=Rung.VERIFY)
        await clinic.treat()
        await clinic.succeeds(alpha, "gpu/xid-79")
        assert await clinic.state(alpha) is NodeState.READY
    await clinic.raised(alpha, repair=Rung.VERIFY)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_a_host_that_tells_of_ever_more_repairs_of_its_own_is_not_believed(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairs, "_LOCAL_MAX", 3)
    alpha = await clinic.world.node("alpha")
    for number in range(10):
        await clinic.alone(alpha, f"l-{number}", Rung.RESET_GPU, RepairState.SUCCEEDED)
    assert len((await clinic.incident(alpha)).repairs) == 3


async def test_a_host_has_one_repair_of_its_own_at_a_time_and_the_next_counts_once_that_has_ended(
    clinic: Clinic,
) -> None:
    alpha = await clinic.world.node("alpha")
    for number in range(10):
        await clinic.alone(alpha, f"l-{number}", Rung.RESET_GPU, RepairState.RUNNING)
    assert len((await clinic.incident(alpha)).repairs) == 1
    await clinic.alone(alpha, "l-0", Rung.RESET_GPU, RepairState.SUCCEEDED)
    await clinic.alone(alpha, "l-1", Rung.RESET_GPU, RepairState.RUNNING)
    await clinic.alone(alpha, "l-2", Rung.RESET_GPU, RepairState.SUCCEEDED)  # told late: has ended before
    states = [one.state for one in (await clinic.incident(alpha)).repairs]
    assert sorted(one.value for one in states) == ["running", "succeeded", "succeeded"]


async def test_a_host_that_ends_no_repair_of_its_own_cannot_keep_itself_from_being_released(clinic: Clinic) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await clinic.alone(alpha, "l-0", Rung.RESET_GPU, RepairState.RUNNING)
    await clinic.passes(1300)
    assert await clinic.state(alpha) is NodeState.QUARANTINED
    for number in range(1, 5):
        await clinic.alone(alpha, f"l-{number}", Rung.REBOOT_HOST, RepairState.RUNNING)
    done = await world.propose(ReleaseNode(alpha.id, "looked at it"), user=operator, person=True)
    assert done.state is ActionState.DONE
    assert await clinic.state(alpha) is NodeState.READY


async def test_what_hosts_have_mended_alone_takes_none_of_them_out_of_service(clinic: Clinic) -> None:
    admin = principal(await clinic.world.user("root", role=Role.ADMIN))
    hosts = [await clinic.world.node(name) for name in ("alpha", "beta", "gamma")]
    await clinic.world.governor.set_kill_switch(engaged=True, principal=admin, reason="storm")
    for host in hosts:
        await clinic.alone(host, "l-1", Rung.RESET_GPU, RepairState.SUCCEEDED)
    assert [await clinic.state(host) for host in hosts] == [NodeState.READY] * 3
    await clinic.treat()
    incident = await clinic.incident(hosts[0])
    assert (incident.state, incident.repairs[0].state) == (IncidentState.RESOLVED, RepairState.SUCCEEDED)


async def test_a_drained_node_that_was_repaired_is_still_drained_and_counts_as_out_of_service(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    operator = await clinic.world.user("op", role=Role.OPERATOR)
    await clinic.world.propose(DrainNode(alpha.id, "fans"), user=operator, person=True)
    await clinic.treat()
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.succeeds(alpha, "gpu/xid-79")
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED
    assert (await clinic.state(alpha), await clinic.is_out(alpha)) == (NodeState.CORDONED, True)
    await clinic.raised(alpha, "passing", repair=None)
    await clinic.treat()
    await clinic.cleared(alpha, "passing")
    await clinic.treat()
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED
    assert await clinic.is_out(alpha)
    await clinic.world.propose(ReleaseNode(alpha.id, "aired"), user=operator, person=True)
    assert (await clinic.state(alpha), await clinic.is_out(alpha)) == (NodeState.READY, False)


async def test_a_repair_that_a_host_began_alone_long_ago_by_its_clock_has_its_time(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    report = RepairReport(
        repair_id="l-1",
        origin=RepairOrigin.LOCAL_POLICY,
        rung=Rung.RESET_GPU,
        state=RepairState.RUNNING,
        started_at=clinic.world.clock.now() - timedelta(hours=2),
        condition_ids=("gpu/xid-79",),
        policy_version=7,
    )
    await clinic.world.store.write(lambda tx: repairs.apply_report(tx, alpha.id, report))
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.REPAIRING
    await clinic.passes(1300)
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_a_repair_ends_with_its_node(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    admin = await clinic.world.user("root", role=Role.ADMIN)
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.reports(alpha, RepairState.RUNNING)
    await clinic.alone(alpha, "l-1", Rung.RESET_GPU, RepairState.RUNNING)
    await clinic.world.propose(RevokeNode(alpha.id, "sold"), user=admin, person=True)
    await clinic.treat()
    assert await clinic.maybe_repair(alpha) is None
    incident = await clinic.incident(alpha)
    assert incident.state is IncidentState.RESOLVED
    assert {one.state for one in incident.repairs} == {RepairState.FAILED}


async def test_a_repair_whose_conditions_end_while_jobs_move_away_is_superseded_and_the_host_tested(
    clinic: Clinic,
) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await clinic.raised(alpha)
    await clinic.treat()
    assert (await clinic.repair(alpha)).rung is Rung.RESET_GPU
    await clinic.cleared(alpha)
    await clinic.treat()
    test = await clinic.repair(alpha)
    assert (test.rung, test.sent_at) == (Rung.VERIFY, None)
    (superseded,) = [one for one in (await clinic.incident(alpha)).repairs if one.id != test.id]
    assert (superseded.state, superseded.sent_at) == (RepairState.REFUSED, None)
    assert superseded.message.startswith("superseded")
    await world.report("job", ENDED, ExitReason.STOPPED)
    await clinic.treat()
    await clinic.succeeds(alpha)
    assert await clinic.state(alpha) is NodeState.READY
    assert (await clinic.incident(alpha)).state is IncidentState.RESOLVED


async def test_what_keeps_ending_before_its_repair_can_begin_and_coming_back_stops_the_ladder(clinic: Clinic) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    for number in range(POLICY.flaps):
        await world.launch(user, spec(f"job-{number}"))
        await world.place(f"job-{number}", (alpha, [0]))
        await clinic.raised(alpha)
        await clinic.treat()
        await clinic.cleared(alpha)
        await clinic.treat()
        await world.report(f"job-{number}", ENDED, ExitReason.STOPPED)
        await world.stop(f"job-{number}", user)
        await clinic.treat()
        await clinic.succeeds(alpha)
        assert await clinic.state(alpha) is NodeState.READY
    await clinic.raised(alpha)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.QUARANTINED
    assert "keeps coming back" in (await clinic.incident(alpha)).status_reason


async def test_what_is_refused_over_and_back_again_stops_the_ladder(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    for _ in range(POLICY.flaps):
        await clinic.raised(alpha)
        await clinic.treat()
        await clinic.reports(alpha, RepairState.REFUSED)
        await clinic.cleared(alpha)
        await clinic.passes(1)
        assert await clinic.state(alpha) is NodeState.READY
    await clinic.raised(alpha)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_a_repair_that_a_person_has_asked_for_is_done_though_its_conditions_end(clinic: Clinic) -> None:
    world = clinic.world
    user, operator, alpha = await world.user(), await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await clinic.raised(alpha)
    asked = RepairNode(alpha.id, Rung.RESET_GPU, "now", (gpu(alpha),), condition_ids=("gpu/xid-79",))
    await world.propose(asked, user=operator, person=True)
    await clinic.cleared(alpha)
    await world.report("job", ENDED, ExitReason.STOPPED)
    await clinic.treat()
    given = await clinic.repair(alpha)
    assert (given.rung, given.sent_at is not None) == (Rung.RESET_GPU, True)


async def test_an_order_whose_conditions_ended_while_its_host_was_away_is_not_told_again(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.world.cut_off(alpha)
    await clinic.cleared(alpha)
    await clinic.passes(1)
    await clinic.world.come_back(alpha)
    assert (await clinic.repair(alpha)).not_after is None  # kept back until the agent has looked
    await clinic.passes(1)
    assert (await clinic.repair(alpha)).rung is Rung.VERIFY


async def escalated(clinic: Clinic) -> Node:
    """A node that was quarantined since its trouble keeps coming back."""
    alpha = await clinic.world.node("alpha")
    for _ in range(POLICY.flaps):
        await clinic.raised(alpha)
        await clinic.treat()
        await clinic.succeeds(alpha, "gpu/xid-79")
    await clinic.raised(alpha)
    await clinic.treat()
    assert (await clinic.incident(alpha)).state is IncidentState.ESCALATED
    await clinic.reports(alpha, RepairState.SUCCEEDED)  # the hand-off report
    return alpha


async def test_a_release_after_a_test_resolves_what_was_escalated_and_says_so(clinic: Clinic) -> None:
    alpha, operator = await escalated(clinic), await clinic.world.user("op", role=Role.OPERATOR)
    clinic.world.clock.advance(60)
    await clinic.cleared(alpha)
    await clinic.world.propose(RepairNode(alpha.id, Rung.VERIFY, "exchanged"), user=operator, person=True)
    test = await clinic.repair(alpha)
    await clinic.succeeds(alpha)
    await clinic.world.propose(ReleaseNode(alpha.id, "board exchanged"), user=operator, person=True)
    found = await clinic.incidents(alpha)
    assert {one.state for one in found} == {IncidentState.RESOLVED}
    (was,) = [one for one in found if "keeps coming back" in one.status_reason]
    assert was.status_reason.startswith(f"released by {operator.email}: board exchanged; tested since, and passed")
    assert test.id in was.status_reason
    assert was.timings.total_seconds is not None
    assert await clinic.state(alpha) is NodeState.READY
    # The count of returns begins anew with the escalation, though it is resolved by now.
    await clinic.raised(alpha)
    await clinic.treat()
    assert (await clinic.repair(alpha)).rung is Rung.RESET_GPU


async def test_a_release_without_a_test_says_that_nothing_was_tested(clinic: Clinic) -> None:
    alpha, operator = await escalated(clinic), await clinic.world.user("op", role=Role.OPERATOR)
    await clinic.world.propose(ReleaseNode(alpha.id, "in a hurry"), user=operator, person=True)
    (was,) = [one for one in await clinic.incidents(alpha) if "keeps coming back" in one.status_reason]
    assert (was.state, "not tested since" in was.status_reason) == (IncidentState.RESOLVED, True)


async def test_what_was_escalated_ends_with_its_node(clinic: Clinic) -> None:
    alpha, admin = await escalated(clinic), await clinic.world.user("root", role=Role.ADMIN)
    await clinic.world.propose(RevokeNode(alpha.id, "scrapped"), user=admin, person=True)
    assert {one.state for one in await clinic.incidents(alpha)} == {IncidentState.RESOLVED}


@pytest.mark.parametrize("end", [RepairState.SUCCEEDED, RepairState.FAILED])
async def test_a_quarantine_in_the_midst_of_a_repair_has_its_hand_off_report_after_it(
    clinic: Clinic, end: RepairState
) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.reports(alpha, RepairState.RUNNING)
    await world.propose(QuarantineNode(alpha.id, "smells"), user=operator, person=True)
    await clinic.treat()
    assert (await clinic.repair(alpha)).rung is Rung.RESET_GPU
    clinic.agent = Incidents(world.store, world.governor)  # a restart meanwhile
    await clinic.reports(alpha, end)
    await clinic.treat()
    report = await clinic.repair(alpha)
    assert (report.rung, report.sent_at is not None) == (Rung.QUARANTINE, True)
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    for _ in range(3):
        await clinic.passes(61)
    assert await clinic.maybe_repair(alpha) is None  # one is enough
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_a_quarantine_before_a_repair_could_begin_takes_its_place(clinic: Clinic) -> None:
    world = clinic.world
    user, operator, alpha = await world.user(), await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await clinic.raised(alpha)
    await clinic.treat()
    waiting = await clinic.repair(alpha)
    await world.propose(QuarantineNode(alpha.id, "smells"), user=operator, person=True)
    assert (await clinic.repair(alpha)).rung is Rung.QUARANTINE
    found = await world.store.read(lambda tx: repair_store.require(tx, waiting.id))
    assert (found.state, "quarantined before it began" in found.message) == (RepairState.REFUSED, True)
