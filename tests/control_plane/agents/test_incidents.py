from dataclasses import replace
from decimal import Decimal

from control_plane.fleet.timings import timings
from control_plane.model.action import (
    ReleaseNode,
    UpdateCondition,
)
from control_plane.model.health import ConditionSeverity
from control_plane.model.identity import Role
from control_plane.model.incident import IncidentState
from control_plane.model.job import ExitReason, JobState
from control_plane.model.node import NodeState
from control_plane.model.repair import RepairState, Rung
from control_plane.store import incidents
from tests.control_plane.clinic import Clinic, gpu
from tests.control_plane.world import ENDED, RUNNING, spec


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
    took = timings(incident)
    assert (took.detect_seconds, took.cordon_seconds, took.drain_seconds) == (1, 0, 0)
    assert (took.repair_seconds, took.verify_seconds, took.total_seconds) == (10, 5, 16)


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
    assert timings(await clinic.incident(alpha)).drain_seconds == 5


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
