"""What the governor says to drains, repairs, quarantines and releases, whoever asks."""

import asyncio

import pytest

from control_plane.errors import PreconditionFailed, ResourceExhausted
from control_plane.governor.governor import denial_error
from control_plane.model.action import (
    Action,
    ActionState,
    DrainNode,
    Effect,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    UncordonNode,
    UpdateCondition,
)
from control_plane.model.bounds import BoundScope
from control_plane.model.effects import effect_from_json, effect_to_json
from control_plane.model.identity import Role
from control_plane.model.ids import IncidentId, NodeId
from control_plane.model.node import Node, NodeState
from control_plane.model.repair import RepairState, Rung
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import RUNNING, World, spec

NODE = NodeId("n-0123456789ab")


@pytest.fixture
def clinic(world: World) -> Clinic:
    return Clinic.of(world)


def reason(action: Action) -> str:
    return denial_error(action).reason


@pytest.mark.parametrize(
    "effect",
    [
        DrainNode(NODE, "fans"),
        RepairNode(
            NODE,
            Rung.RESET_GPU,
            "xid",
            ("GPU-1",),
            "svc",
            (7, 8),
            dry_run=True,
            incident_id=IncidentId("i-1"),
            condition_ids=("a",),
        ),
        QuarantineNode(NODE, "smoke", IncidentId("i-1")),
        ReleaseNode(NODE, "aired"),
        UpdateCondition(NODE, "gpu/xid-79", clear=True, by="op", reason="seen"),
    ],
)
def test_effects_are_frozen_and_come_back_as_they_were(effect: Effect) -> None:
    assert effect_from_json(effect_to_json(effect)) == effect
    assert effect_to_json(effect_from_json(effect_to_json(effect))) == effect_to_json(effect)


async def test_the_level_out_of_service_is_bounded_for_people_too(clinic: Clinic) -> None:
    world = clinic.world
    alpha, beta = await world.node("alpha"), await world.node("beta")
    operator = await world.user("op", role=Role.OPERATOR)
    await clinic.bound(BoundScope.FLEET, 1)
    assert (await world.propose(DrainNode(alpha.id, "x"), user=operator, person=True)).state is ActionState.DONE
    denied = await world.propose(DrainNode(beta.id, "x"), user=operator, person=True)
    assert (denied.state, reason(denied)) == (ActionState.DENIED, "BLAST_RADIUS")
    assert isinstance(denial_error(denied), ResourceExhausted)
    assert "1 of 1 hosts of the fleet" in denied.outcome
    # What is out of service already does not count twice.
    again = await world.propose(RepairNode(alpha.id, Rung.REBOOT_HOST, "x"), user=operator, person=True)
    assert again.state is ActionState.DONE


async def test_a_lost_host_is_out_of_service_too(clinic: Clinic) -> None:
    world = clinic.world
    alpha, beta = await world.node("alpha"), await world.node("beta")
    await clinic.bound(BoundScope.FLEET, 1)
    await world.lose(alpha)
    assert reason(await world.propose(DrainNode(beta.id, "x"))) == "BLAST_RADIUS"
    await world.come_back(alpha)
    assert (await world.propose(DrainNode(beta.id, "x"))).state is ActionState.DONE


async def test_a_person_may_always_quarantine_and_an_agent_may_not(clinic: Clinic) -> None:
    world = clinic.world
    alpha, operator = await world.node("alpha"), await world.user("op", role=Role.OPERATOR)
    await clinic.bound(BoundScope.FLEET, 0)
    assert reason(await world.propose(QuarantineNode(alpha.id, "x"))) == "BLAST_RADIUS"
    done = await world.propose(QuarantineNode(alpha.id, "x"), user=operator, person=True)
    assert done.state is ActionState.DONE
    assert await clinic.state(alpha) is NodeState.QUARANTINED


@pytest.mark.parametrize(("scope", "label"), [(BoundScope.POOL, "pool"), (BoundScope.RACK, "rack")])
async def test_each_pool_and_rack_has_a_level_of_its_own(clinic: Clinic, scope: BoundScope, label: str) -> None:
    world = clinic.world
    here = [await world.node(f"here-{number}", labels={label: "a"}) for number in range(3)]
    there = await world.node("there", labels={label: "b"})
    nowhere = await world.node("nowhere")
    await clinic.bound(scope, 1)
    assert (await world.propose(DrainNode(here[0].id, "x"))).state is ActionState.DONE
    denied = await world.propose(DrainNode(here[1].id, "x"))
    assert f"{label} a" in denied.outcome
    for other in (there, nowhere):
        assert (await world.propose(DrainNode(other.id, "x"))).state is ActionState.DONE


async def _gang(clinic: Clinic) -> tuple[Node, Node, Node]:
    world = clinic.world
    user = await world.user()
    alpha, beta, gamma = [await world.node(name) for name in ("alpha", "beta", "gamma")]
    await world.launch(user, spec("gang", gpu=2, nodes=2), spec("other"))
    await world.place("gang", (alpha, [0]), (beta, [0]))
    await world.place("other", (gamma, [0]))
    for rank in range(2):
        await world.report("gang", RUNNING, rank=rank)
    return alpha, beta, gamma


async def test_a_job_loses_only_so_many_of_its_hosts_at_once(clinic: Clinic) -> None:
    alpha, beta, gamma = await _gang(clinic)
    await clinic.bound(BoundScope.JOB, 1)
    assert (await clinic.world.propose(DrainNode(alpha.id, "x"))).state is ActionState.DONE
    assert "hosts of job j-" in (await clinic.world.propose(DrainNode(beta.id, "x"))).outcome
    assert (await clinic.world.propose(DrainNode(gamma.id, "x"))).state is ActionState.DONE


async def test_a_tenant_loses_only_so_many_of_its_hosts_at_once(clinic: Clinic) -> None:
    alpha, _beta, gamma = await _gang(clinic)
    await clinic.bound(BoundScope.TENANT, 1)
    assert (await clinic.world.propose(DrainNode(alpha.id, "x"))).state is ActionState.DONE
    assert "tenant ada@example.com" in (await clinic.world.propose(DrainNode(gamma.id, "x"))).outcome


async def test_two_decisions_at_once_cannot_both_take_the_last_place(clinic: Clinic) -> None:
    world = clinic.world
    hosts = [await world.node(f"host-{number}") for number in range(10)]
    await clinic.bound(BoundScope.FLEET, 3)
    decided = await asyncio.gather(*(world.propose(RepairNode(host.id, Rung.RESET_GPU, "x")) for host in hosts))
    assert sum(action.state is ActionState.DONE for action in decided) == 3
    assert sum([await clinic.is_out(host) for host in hosts]) == 3


async def test_one_repair_per_host_at_a_time(clinic: Clinic) -> None:
    world = clinic.world
    alpha = await world.node("alpha")
    first, second = await asyncio.gather(
        *(world.propose(RepairNode(alpha.id, rung, "x")) for rung in (Rung.RESET_GPU, Rung.REBOOT_HOST))
    )
    assert {first.state, second.state} == {ActionState.DONE, ActionState.DENIED}
    denied = first if first.state is ActionState.DENIED else second
    assert reason(denied) == "REPAIR_IN_PROGRESS"
    assert isinstance(denial_error(denied), PreconditionFailed)


@pytest.mark.parametrize(
    ("effect", "why"),
    [
        (RepairNode(NODE, Rung.RESET_GPU, "x"), "NODE_UNKNOWN"),
        (DrainNode(NODE, "x"), "NODE_UNKNOWN"),
        (UpdateCondition(NODE, "a", clear=True, by="op", reason="x"), "NODE_UNKNOWN"),
    ],
)
async def test_what_is_not_there_cannot_be_repaired(clinic: Clinic, effect: Effect, why: str) -> None:
    assert reason(await clinic.world.propose(effect)) == why


async def test_an_order_that_makes_no_sense_is_denied(clinic: Clinic) -> None:
    world = clinic.world
    alpha = await world.node("alpha")
    for effect, why in (
        (RepairNode(alpha.id, Rung.QUARANTINE, "x"), "RUNG"),
        (RepairNode(alpha.id, Rung.RESET_GPU, "x", ("GPU-elsewhere",)), "GPU_UNKNOWN"),
        (RepairNode(alpha.id, Rung.RESTART_SERVICE, "x", service="a; rm -rf /"), "SERVICE"),
        (RepairNode(alpha.id, Rung.RESTART_SERVICE, "x"), "SERVICE"),
        (RepairNode(alpha.id, Rung.STOP_PROCESS, "x"), "PROCESS"),
        (RepairNode(alpha.id, Rung.VERIFY, "x", incident_id=IncidentId("i-nothing")), "STALE"),
        (ReleaseNode(alpha.id, "x"), "NODE_IN_SERVICE"),
        (UpdateCondition(alpha.id, "none", clear=True, by="op", reason="x"), "CONDITION_UNKNOWN"),
    ):
        assert reason(await world.propose(effect)) == why
    assert await clinic.state(alpha) is NodeState.READY


async def test_while_everything_is_stopped_a_person_may_still_quarantine_and_nothing_else_moves(
    clinic: Clinic,
) -> None:
    world = clinic.world
    admin, operator = await world.principal("root", Role.ADMIN), await world.user("op", role=Role.OPERATOR)
    alpha = await world.node("alpha")
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    effects: list[Effect] = [
        DrainNode(alpha.id, "x"),
        RepairNode(alpha.id, Rung.RESET_GPU, "x"),
        RepairNode(alpha.id, Rung.RESET_GPU, "x", dry_run=True),
        ReleaseNode(alpha.id, "x"),
    ]
    for effect in effects:
        assert reason(await world.propose(effect, user=operator, person=True)) == "KILL_SWITCH"
    assert reason(await world.propose(QuarantineNode(alpha.id, "x"))) == "KILL_SWITCH"
    done = await world.propose(QuarantineNode(alpha.id, "x"), user=operator, person=True)
    assert done.state is ActionState.DONE


async def test_every_decision_about_a_repair_is_on_record(clinic: Clinic) -> None:
    world = clinic.world
    alpha = await world.node("alpha")
    await clinic.raised(alpha)
    await clinic.treat()
    await clinic.succeeds(alpha, "gpu/xid-79")
    actions = [record.action for record in await world.audit(node_id=alpha.id)]
    assert actions == [
        "node.ready",
        "incident.opened",
        "repair_node.done",
        "repair.succeeded",
        "release_node.done",
        "incident.resolved",
    ]
    (decided,) = await world.audit(node_id=alpha.id, agent_name="healing_agent", action_id=await _action(clinic, alpha))
    assert "ev-gpu/xid-79" in decided.reasoning


async def _action(clinic: Clinic, node: Node) -> str:
    (repair,) = (await clinic.incident(node)).repairs
    return repair.action_id or ""


async def test_a_drained_node_is_put_back_by_uncordoning_it(clinic: Clinic) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.propose(DrainNode(alpha.id, "x"), user=operator, person=True)
    await clinic.treat()
    assert await clinic.state(alpha) is NodeState.CORDONED
    await world.propose(UncordonNode(alpha.id, "x"), user=operator, person=True)
    assert await clinic.state(alpha) is NodeState.READY
    assert not await clinic.is_out(alpha)


async def test_a_node_is_not_released_in_the_middle_of_a_repair(clinic: Clinic) -> None:
    world = clinic.world
    operator, alpha = await world.user("op", role=Role.OPERATOR), await world.node("alpha")
    await world.propose(RepairNode(alpha.id, Rung.RESET_GPU, "x"))
    denied = await world.propose(ReleaseNode(alpha.id, "x"), user=operator, person=True)
    assert reason(denied) == "REPAIR_IN_PROGRESS"
    await clinic.reports(alpha, RepairState.SUCCEEDED)
    assert (await world.propose(ReleaseNode(alpha.id, "x"), user=operator, person=True)).state is ActionState.DONE
    assert await clinic.state(alpha) is NodeState.READY
