"""What is refused, comes back, or is told of by hosts themselves."""

from datetime import timedelta

import pytest

from control_plane.governor import repairs
from control_plane.model.action import (
    ActionState,
    DrainNode,
    ReleaseNode,
    RepairNode,
    RevokeNode,
)
from control_plane.model.bounds import BoundScope
from control_plane.model.identity import Role
from control_plane.model.incident import IncidentState
from control_plane.model.job import ExitReason
from control_plane.model.node import NodeState
from control_plane.model.repair import RepairOrigin, RepairReport, RepairState, Rung
from control_plane.store import actions
from control_plane.store.actions import ActionFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.clinic import POLICY, Clinic
from tests.control_plane.world import ENDED, principal, spec


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
