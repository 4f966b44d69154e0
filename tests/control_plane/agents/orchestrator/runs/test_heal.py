"""Repair goals by rules: the gentlest repair that fits, or the open incident; nothing where nothing is wrong."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from control_plane.model.action import ActionState
from control_plane.model.goal import GoalState
from control_plane.model.identity import Role
from control_plane.model.ids import MEMORY, derived_id
from control_plane.model.memory import FoundMemory, Memory, MemoryAction, MemoryKind, MemoryOutcome, MemoryQuery
from control_plane.model.node import NodeState
from control_plane.model.repair import RepairState, Rung
from control_plane.model.run import EventType, RunState
from tests.control_plane.agents.orchestrator.runs.rig import Rig, limited
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import LIMITS, principal

TEXT = "gpu-a-17 keeps throwing Xid 79, sort it out"


@pytest.fixture
async def clinic(rig: Rig) -> Clinic:
    rig.ada = await rig.operator()
    return Clinic.of(rig.world)


async def test_the_gentlest_fitting_repair_is_proposed_watched_and_reported(rig: Rig, clinic: Clinic) -> None:
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    goal = await rig.ask(TEXT)
    (action,) = await rig.actions()
    assert (action.kind, action.state, action.run_id) == ("repair_node", ActionState.DONE, (await rig.run(goal)).id)
    assert (await clinic.repair(node)).rung is Rung.RESET_GPU
    assert (goal.state, (await rig.run(goal)).state) == (GoalState.RUNNING, RunState.WATCHING)
    await rig.settle()
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING
    await clinic.reports(node, RepairState.SUCCEEDED)
    await clinic.cleared(node)
    for _ in range(4):
        await clinic.treat()
    await rig.settle()
    done = await rig.goal(goal.id)
    assert done.state is GoalState.SUCCEEDED
    assert "ready again" in done.result
    assert (await rig.world.node_now(node)).state is NodeState.READY


async def test_where_nothing_is_wrong_nothing_is_done(rig: Rig, clinic: Clinic) -> None:
    await rig.node(gpu=1)
    goal = await rig.ask(TEXT)
    assert goal.state is GoalState.SUCCEEDED
    assert "has no fault now, so nothing was changed" in goal.result
    assert await rig.actions() == ()


async def test_an_open_incident_is_watched_and_not_repaired_twice(rig: Rig, clinic: Clinic) -> None:
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    await clinic.treat()
    before = await rig.actions()
    goal = await rig.ask(TEXT)
    assert await rig.actions() == before
    assert (await rig.run(goal)).state is RunState.WATCHING
    await clinic.reports(node, RepairState.SUCCEEDED)
    await clinic.cleared(node)
    for _ in range(4):
        await clinic.treat()
    await rig.settle()
    assert (await rig.goal(goal.id)).state is GoalState.SUCCEEDED


async def test_a_user_who_may_not_repair_is_told_whom_to_ask(rig: Rig, clinic: Clinic) -> None:
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    eve = principal(await rig.world.user("eve", role=Role.USER))
    goal = await rig.ask(TEXT, who=eve)
    assert goal.state is GoalState.FAILED
    assert "Ask an operator to run: orquanta node repair gpu-a-17" in goal.result
    assert await rig.actions() == ()


async def test_a_node_that_nobody_knows_is_told(rig: Rig, clinic: Clinic) -> None:
    goal = await rig.ask(TEXT)
    assert goal.state is GoalState.FAILED
    assert "gpu-a-17" in goal.result


async def test_a_repair_that_does_not_help_ends_with_what_a_person_must_do(rig: Rig, clinic: Clinic) -> None:
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    goal = await rig.ask(TEXT)
    for _ in range(20):
        if (await rig.goal(goal.id)).state.ended:
            break
        if (await rig.world.node_now(node)).state in (NodeState.REPAIRING, NodeState.VERIFYING):
            await clinic.reports(node, RepairState.FAILED)
        await clinic.passes(30)
        await rig.settle()
    done = await rig.goal(goal.id)
    assert done.state is GoalState.FAILED
    assert "quarantined" in done.result
    assert "orquanta node release" in done.result


async def test_a_repair_that_people_must_approve_waits_and_goes_on(rig: Rig, clinic: Clinic) -> None:
    rig.world.governor._limits = replace(LIMITS, approval_rungs=frozenset({Rung.RESET_GPU}))
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    goal = await rig.ask(TEXT)
    (action,) = await rig.actions()
    assert (goal.state, (await rig.run(goal)).state) == (GoalState.AWAITING_APPROVAL, RunState.AWAITING_APPROVAL)
    otto = await rig.operator("otto")
    await rig.world.governor.approve(action.id, approver=otto, hash=action.hash, reason="fine")
    await rig.settle()
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING
    told = [event.type for event in await rig.events(goal)]
    assert EventType.APPROVAL_REQUESTED in told
    assert EventType.APPROVAL_DECIDED in told


async def test_a_run_that_waits_uses_none_of_its_time(rig: Rig, clinic: Clinic) -> None:
    rig.policy = limited(rig.policy, seconds=60.0)
    rig.build()
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    goal = await rig.ask(TEXT)
    rig.world.clock.advance(86_400)
    await rig.settle()
    assert (await rig.run(goal)).state is RunState.WATCHING


async def remembering(rig: Rig, *memories: Memory) -> None:
    """Give the tools a memory that holds these."""
    store = Remembered(memories)
    rig.toolbox._sources = replace(rig.toolbox._sources, memory=store)  # type: ignore[arg-type] # all that recall needs


@dataclass(frozen=True)
class Remembered:
    """All that recalling needs of a memory."""

    memories: tuple[Memory, ...]

    async def search(self, query: MemoryQuery, *, now: datetime) -> tuple[FoundMemory, ...]:
        assert now.tzinfo is not None
        wanted = set(query.symptoms)
        return tuple(FoundMemory(one, 0.9) for one in self.memories if wanted & set(one.symptoms))


def memory(name: str, rung: str, outcome: MemoryOutcome, now: datetime, symptom: str = "xid") -> Memory:
    return Memory(
        id=derived_id(MEMORY, name),
        tenant="",
        kind=MemoryKind.INCIDENT,
        text=f"{rung} on such a fault",
        symptoms=(symptom,),
        root_cause="XID",
        actions=(MemoryAction(rung, outcome),),
        outcome=outcome,
        gpu_type="H100",
        node_class="1x H100",
        evidence_ids=(),
        source="i-000000000000",
        created_at=now,
        expires_at=now + timedelta(days=30),
    )


async def test_a_repair_that_failed_on_such_a_fault_before_is_not_tried_first_again(rig: Rig, clinic: Clinic) -> None:
    failed = memory("one", "reset_gpu", MemoryOutcome.FAILED, rig.world.clock.now())
    await remembering(rig, failed)
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    goal = await rig.ask(TEXT)
    assert (await clinic.repair(node)).rung is Rung.RELOAD_DRIVER
    (action,) = await rig.actions()
    assert (action.state, action.tainted) == (ActionState.DONE, False)
    assert failed.id in action.reasoning
    (recalled,) = [one for one in await rig.events(goal) if one.type is EventType.MEMORY_RECALLED]
    assert recalled.evidence_ids == (f"memory:{failed.id}",)
    assert recalled.tainted


async def test_what_helped_more_often_than_it_failed_stays_the_first(rig: Rig, clinic: Clinic) -> None:
    now = rig.world.clock.now()
    await remembering(
        rig,
        memory("one", "reset_gpu", MemoryOutcome.FAILED, now),
        memory("two", "reset_gpu", MemoryOutcome.FIXED, now),
        memory("three", "reset_gpu", MemoryOutcome.FAILED, now, symptom="nvlink_down"),
    )
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    await rig.ask(TEXT)
    assert (await clinic.repair(node)).rung is Rung.RESET_GPU


async def test_where_every_rung_has_failed_the_gentlest_is_tried_all_the_same(rig: Rig, clinic: Clinic) -> None:
    now = rig.world.clock.now()
    rungs = ("reset_gpu", "reload_driver", "reboot_host")
    await remembering(rig, *(memory(rung, rung, MemoryOutcome.WORSE, now) for rung in rungs))
    node = await rig.node(gpu=1)
    await clinic.raised(node)
    await rig.ask(TEXT)
    assert (await clinic.repair(node)).rung is Rung.RESET_GPU
