"""Orders to hosts that cannot hear them: time that they could not use does not count against them."""

import pytest

from control_plane.agents.incidents.agent import Incidents
from control_plane.fleet.ladder import ANSWER_SECONDS, DEADLINE_SECONDS
from control_plane.model.action import ActionState, RepairNode
from control_plane.model.identity import Role
from control_plane.model.incident import IncidentState
from control_plane.model.job import JobState
from control_plane.model.node import Node, NodeState
from control_plane.model.repair import RepairState, Rung
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import RUNNING, World, principal, spec

LONG = 10 * ANSWER_SECONDS


@pytest.fixture
def clinic(world: World) -> Clinic:
    return Clinic.of(world)


async def asked_for(clinic: Clinic, node: Node, rung: Rung = Rung.VERIFY) -> str:
    operator = await clinic.world.user("op", role=Role.OPERATOR)
    action = await clinic.world.propose(RepairNode(node.id, rung, "is it well?"), user=operator, person=True)
    assert action.state is ActionState.DONE
    return action.outcome


async def test_an_order_to_a_host_whose_link_is_down_waits_and_is_given_when_it_is_back(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.world.cut_off(alpha)
    assert "link is down" in await asked_for(clinic, alpha)
    await clinic.passes(LONG)
    assert (await clinic.repair(alpha)).sent_at is None
    assert (await clinic.incident(alpha)).status_reason == "waits for the host: its link is down"
    await clinic.world.come_back(alpha)
    await clinic.treat()
    given = await clinic.repair(alpha)
    assert given.not_after is not None
    assert (given.not_after - clinic.world.clock.now()).total_seconds() == ANSWER_SECONDS
    await clinic.succeeds(alpha)
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_link_that_breaks_after_the_order_gives_its_time_back(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    ordered = await clinic.repair(alpha)
    await clinic.world.cut_off(alpha)
    await clinic.passes(LONG)
    clinic.agent = Incidents(clinic.world.store, clinic.world.governor)  # a restart meanwhile
    await clinic.passes(LONG)
    assert await clinic.state(alpha) is NodeState.REPAIRING
    await clinic.world.come_back(alpha)
    await clinic.passes(ANSWER_SECONDS - 1)
    assert (await clinic.repair(alpha)).id == ordered.id
    await clinic.succeeds(alpha, "gpu/xid-79")
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_host_that_is_there_and_does_not_answer_is_still_left_to_a_person(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.world.cut_off(alpha)
    await clinic.world.come_back(alpha)
    await clinic.passes(ANSWER_SECONDS + 16)
    assert (await clinic.incident(alpha)).state is IncidentState.ESCALATED


async def test_an_order_that_a_lost_host_never_heard_ends_as_not_delivered_and_quarantines_nothing(
    clinic: Clinic,
) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.world.cut_off(alpha)
    await asked_for(clinic, alpha)
    await clinic.world.lose(alpha)
    await clinic.passes(1)
    assert await clinic.maybe_repair(alpha) is None
    incident = await clinic.incident(alpha)
    assert (incident.state, incident.repairs[0].state) == (IncidentState.RESOLVED, RepairState.REFUSED)
    assert incident.repairs[0].message.startswith("not delivered")
    await clinic.passes(LONG)
    assert await clinic.state(alpha) is NodeState.LOST
    assert (await clinic.world.come_back(alpha)).state is NodeState.READY


async def test_an_order_that_a_lost_host_may_have_heard_waits_as_long_as_it_could_take(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.world.lose(alpha)
    await clinic.passes(DEADLINE_SECONDS[Rung.RESET_GPU] - 1)
    assert (await clinic.repair(alpha)).state is RepairState.PENDING
    await clinic.passes(60)
    assert await clinic.maybe_repair(alpha) is None
    assert (await clinic.incident(alpha)).state is not IncidentState.ESCALATED
    # Back again: what is still wrong is ordered anew, at once.
    await clinic.world.come_back(alpha)
    await clinic.passes(1)
    assert (await clinic.repair(alpha)).rung is Rung.RESET_GPU
    await clinic.succeeds(alpha, "gpu/xid-79")
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_host_that_was_lost_with_an_order_and_is_well_again_is_tested_before_it_serves(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.world.lose(alpha)
    await clinic.passes(DEADLINE_SECONDS[Rung.RESET_GPU] + 60)
    await clinic.cleared(alpha)
    await clinic.passes(1)
    assert await clinic.maybe_repair(alpha) is None
    await clinic.world.come_back(alpha)
    await clinic.passes(1)
    assert (await clinic.repair(alpha)).rung is Rung.VERIFY
    await clinic.succeeds(alpha)
    assert await clinic.state(alpha) is NodeState.READY


async def test_time_while_everything_is_stopped_does_not_count_and_the_order_goes_on_after_it(clinic: Clinic) -> None:
    world = clinic.world
    alpha, admin = await world.node("alpha"), principal(await world.user("root", role=Role.ADMIN))
    await asked_for(clinic, alpha)
    await clinic.treat()
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    await clinic.passes(LONG)
    assert (await clinic.repair(alpha)).not_after is None
    await world.governor.set_kill_switch(engaged=False, principal=admin, reason="")
    await clinic.treat()
    resumed = await clinic.repair(alpha)
    assert resumed.not_after is not None
    assert (resumed.not_after - world.clock.now()).total_seconds() == ANSWER_SECONDS
    await clinic.passes(ANSWER_SECONDS - 1)
    assert await clinic.state(alpha) is NodeState.VERIFYING


async def test_a_repair_that_goes_on_while_the_link_is_down_has_its_time_after_the_return(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.reports(alpha, RepairState.RUNNING)
    await clinic.world.lose(alpha)
    await clinic.passes(2 * DEADLINE_SECONDS[Rung.RESET_GPU])
    assert (await clinic.incident(alpha)).state is IncidentState.REPAIRING
    await clinic.world.come_back(alpha)
    await clinic.passes(60)
    await clinic.cleared(alpha)
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_host_that_never_comes_back_to_tell_of_its_repair_is_left_to_a_person_in_the_end(
    clinic: Clinic,
) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.reports(alpha, RepairState.RUNNING)
    for _ in range(20):
        await clinic.world.lose(alpha)
        await clinic.passes(1)
        await clinic.world.come_back(alpha)  # over and over, without an end
        await clinic.passes(1100)
    await clinic.world.lose(alpha)
    await clinic.passes(86_400)
    assert (await clinic.incident(alpha)).state is IncidentState.ESCALATED


async def test_a_host_that_is_lost_while_its_jobs_move_away_waits_for_its_fence(clinic: Clinic) -> None:
    world = clinic.world
    user, alpha = await world.user(), await world.node("alpha")
    await world.launch(user, spec("job"))
    await world.place("job", (alpha, [0]))
    await world.report("job", RUNNING)
    await clinic.raised(alpha)
    await clinic.treat()
    await world.lose(alpha)
    await clinic.passes(200)
    assert (await clinic.incident(alpha)).state is not IncidentState.ESCALATED
    assert await clinic.state(alpha) is NodeState.LOST
    assert (await world.job("job")).state is not JobState.QUEUED
    await world.requeue("job")  # as the agent does that watches leases, once the fence has run out
    await clinic.passes(200)
    assert (await world.job("job")).state is JobState.QUEUED
    assert (await clinic.incident(alpha)).status_reason == "waits for the host: its link is down"
    await world.come_back(alpha)
    await clinic.passes(1)
    await clinic.succeeds(alpha, "gpu/xid-79")
    assert await clinic.state(alpha) is NodeState.READY


async def test_a_dry_run_on_a_lost_host_ends_too(clinic: Clinic) -> None:
    world = clinic.world
    alpha, operator = await world.node("alpha"), await world.user("op", role=Role.OPERATOR)
    await world.cut_off(alpha)
    await world.propose(RepairNode(alpha.id, Rung.REBOOT_HOST, "?", dry_run=True), user=operator, person=True)
    await clinic.passes(1)
    await world.lose(alpha)
    await clinic.passes(61)
    assert await clinic.maybe_repair(alpha) is None
    assert await clinic.state(alpha) is NodeState.LOST


async def test_an_order_that_begins_after_a_long_stop_has_all_its_time(clinic: Clinic) -> None:
    world = clinic.world
    alpha, admin = await world.node("alpha"), principal(await world.user("root", role=Role.ADMIN))
    await asked_for(clinic, alpha)
    await clinic.treat()
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    await clinic.treat()
    await clinic.passes(3 * DEADLINE_SECONDS[Rung.VERIFY])
    await world.governor.set_kill_switch(engaged=False, principal=admin, reason="")
    await clinic.treat()
    await clinic.reports(alpha, RepairState.RUNNING)
    await clinic.passes(DEADLINE_SECONDS[Rung.VERIFY] - 1)
    assert await clinic.state(alpha) is NodeState.VERIFYING
    await clinic.passes(60)
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_a_short_stop_in_the_last_moment_gives_its_time_back(clinic: Clinic) -> None:
    world = clinic.world
    alpha, admin = await world.node("alpha"), principal(await world.user("root", role=Role.ADMIN))
    await asked_for(clinic, alpha)
    await clinic.treat()
    await clinic.passes(ANSWER_SECONDS - 20)
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    await clinic.treat()
    await clinic.passes(30)
    await world.governor.set_kill_switch(engaged=False, principal=admin, reason="")
    await clinic.treat()
    await clinic.passes(ANSWER_SECONDS - 1)
    assert await clinic.state(alpha) is NodeState.VERIFYING


async def test_a_host_that_comes_and_goes_for_a_day_wins_no_more_time(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await asked_for(clinic, alpha)
    await clinic.treat()
    for _ in range(25):
        clinic.world.clock.advance(3600)
        await clinic.world.cut_off(alpha)
        await clinic.world.come_back(alpha)
        await clinic.treat()
    await clinic.passes(ANSWER_SECONDS + 16)
    assert await clinic.state(alpha) is NodeState.QUARANTINED


async def test_two_troubles_one_of_which_ends_before_the_order_is_told_are_still_repaired(clinic: Clinic) -> None:
    alpha = await clinic.world.node("alpha")
    await clinic.raised(alpha, "a", 0)
    await clinic.raised(alpha, "b", 1)
    await clinic.treat()
    ordered = await clinic.repair(alpha)
    await clinic.world.cut_off(alpha)
    await clinic.cleared(alpha, "a")
    await clinic.world.come_back(alpha)
    await clinic.passes(1)
    assert (await clinic.repair(alpha)).id == ordered.id
