"""How troubles end: by themselves, by a release, with their node."""

import pytest

from control_plane.agents.incidents.agent import Incidents
from control_plane.fleet.timings import timings
from control_plane.model.action import (
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    RevokeNode,
)
from control_plane.model.identity import Role
from control_plane.model.incident import IncidentState
from control_plane.model.job import ExitReason
from control_plane.model.node import Node, NodeState
from control_plane.model.repair import RepairState, Rung
from control_plane.store import repairs as repair_store
from tests.control_plane.clinic import POLICY, Clinic, gpu
from tests.control_plane.world import ENDED, spec


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
    assert timings(was).total_seconds is not None
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
