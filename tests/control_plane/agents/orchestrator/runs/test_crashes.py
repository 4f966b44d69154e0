"""The process may die after any write, and at any step that reaches outside: the run goes on and does nothing twice."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from control_plane.agents.orchestrator.runs.begin import run_id_of
from control_plane.model.action import ActionState, PlaceJob, Placement
from control_plane.model.goal import Goal, GoalState
from control_plane.model.health import ConditionSeverity
from control_plane.model.identity import Principal, Role
from control_plane.model.job import AllocationState, ExitReason, JobState
from control_plane.model.repair import RepairState
from control_plane.model.run import EventType, RunState
from control_plane.model.tool import ToolCall, ToolContext, ToolResult, ToolSpec
from control_plane.reasoning.contract import ModelReply, ModelRequest, OnDelta
from control_plane.reasoning.scripted import ScriptedModel
from control_plane.store.database import Store
from control_plane.tools.toolbox import Toolbox
from tests.control_plane.agents.orchestrator.runs.rig import Rig, call, calls, said
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import principal, spec

BOUNDARIES_MAX = 120


class Killed(BaseException):
    """What stands for kill -9: nothing of the code gets a chance to react to it."""


@dataclass
class Reaper:
    """Kills at the boundary that is due: boundaries are counted over all of them."""

    due: int
    passed: int = 0

    def boundary(self) -> None:
        self.passed += 1
        if self.passed == self.due:
            raise Killed


class MortalStore:
    """A store whose process dies right after a commit, or right before one."""

    def __init__(self, store: Store, reaper: Reaper) -> None:
        self._store = store
        self._reaper = reaper

    def __getattr__(self, name: str) -> Any:  # Any: whatever the store has
        return getattr(self._store, name)

    async def write(self, *given: Any, **named: Any) -> Any:  # Any: as the store's
        self._reaper.boundary()
        result = await self._store.write(*given, **named)
        self._reaper.boundary()
        return result


class MortalTools:
    """Tools whose caller dies right before or right after a call has taken effect."""

    def __init__(self, tools: Toolbox, reaper: Reaper) -> None:
        self._tools = tools
        self._reaper = reaper
        self.made: list[str] = []

    def specs(self, role: Role) -> tuple[ToolSpec, ...]:
        return self._tools.specs(role)

    async def resolve_target(self, wanted: ToolCall, principal: Principal) -> str:
        return await self._tools.resolve_target(wanted, principal)

    async def call(self, wanted: ToolCall, context: ToolContext) -> ToolResult:
        self._reaper.boundary()
        result = await self._tools.call(wanted, context)
        self.made.append(wanted.name)
        self._reaper.boundary()
        return result


@dataclass
class MortalModel:
    """A model that answers by what it is asked, so that a repeated question gets the same answer."""

    answer: Callable[[ModelRequest], Any]  # Any: what a script may hold
    reaper: Reaper
    model_name: str = "scripted"
    available: bool = True
    asked: list[ModelRequest] = field(default_factory=list)

    async def ask(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        self.reaper.boundary()
        self.asked.append(request)
        reply = await ScriptedModel([self.answer(request)]).ask(request, on_delta=on_delta)
        self.reaper.boundary()
        return reply


def build(rig: Rig, reaper: Reaper, answer: Callable[[ModelRequest], Any] | None) -> None:
    """Start a fresh control plane on what the store holds: no object of the one before is kept."""
    world = rig.world
    real = world.store._store if isinstance(world.store, MortalStore) else world.store
    rig.tools = MortalTools(rig.toolbox, reaper)
    rig.model = None if answer is None else MortalModel(answer, reaper)  # type: ignore[assignment] # a Reasoner, as the rig needs
    world.store = MortalStore(real, reaper)  # type: ignore[assignment] # it behaves as the store until it dies
    rig.build()


async def until_done(
    rig: Rig, step: Callable[[], Awaitable[None]], due: int, answer: Any = None
) -> int:  # Any: a script
    """Do `step`, dying at boundary `due` and starting again; return how many boundaries there were."""
    reaper = Reaper(due)
    build(rig, reaper, answer)
    try:
        await step()
    except* Killed:
        pass
    else:
        return reaper.passed
    after = Reaper(due=-1)
    build(rig, after, answer)
    await step()
    return reaper.passed


def repairing(node_name: str) -> Callable[[ModelRequest], Any]:  # Any: what a script may hold
    """A model that reads a repair goal, looks at the node, has it repaired and says so."""

    def answer(request: ModelRequest) -> Any:  # Any: what a script may hold
        if request.schema is not None:
            return said("heal", "sort it out")
        turns = sum(bool(message.calls) for message in request.messages)
        match turns:
            case 0:
                return calls(call("get_node", "c-1", node=node_name), text="I look first.")
            case 1:
                return calls(call("repair_node", "c-2", node=node_name, reason="Xid 79"), text="It is ill.")
            case _:
                return f"{node_name} is being repaired; see condition evidence."

    return answer


async def healed(rig: Rig, clinic: Clinic, goal: Goal, node: Any) -> None:  # Any: a Node
    """The host carries the repair out, and the node comes back."""
    await clinic.reports(node, RepairState.SUCCEEDED)
    await clinic.cleared(node)
    for _ in range(6):
        await clinic.treat()
        await rig.settle()
        if (await rig.goal(goal.id)).state.ended:
            break
    assert (await rig.goal(goal.id)).state is GoalState.SUCCEEDED, await rig.goal(goal.id)


@pytest.mark.parametrize("by_model", [False, True], ids=["rules", "model"])
async def test_a_repair_goal_survives_a_kill_at_every_boundary_and_repairs_once(rig: Rig, by_model: bool) -> None:
    clinic = Clinic.of(rig.world)
    real = rig.world.store
    olga = await rig.operator()
    rig.ada = olga
    boundaries, due = BOUNDARIES_MAX, 0
    while due < boundaries:
        due += 1
        assert due < BOUNDARIES_MAX
        rig.world.store = real
        name = f"gpu-a-{due}"
        node = await rig.node(name, gpu=1)
        await clinic.raised(node, severity=ConditionSeverity.FATAL)
        goal: list[Goal] = []

        async def ask(name: str = name, due: int = due, goal: list[Goal] = goal) -> None:
            made = await rig.orchestrator.create_goal(
                olga,
                text=f"{name} keeps throwing Xid 79, sort it out",
                request_id=f"heal-{due}",
                budget_usd=None,
                timezone="",
            )
            goal[:] = [made]
            await rig.drive(run_id_of(made.id))

        answer = repairing(name) if by_model else None
        passed = await until_done(rig, ask, due, answer)
        boundaries = passed if passed < due else boundaries
        rig.world.store = real
        build(rig, Reaper(due=-1), answer)
        rig.world.store = real
        rig.build()
        proposed = [one for one in await rig.actions() if one.kind == "repair_node" and one.node_id == node.id]
        assert [one.state for one in proposed] == [ActionState.DONE], (due, proposed)
        assert (await rig.run(goal[0])).state is RunState.WATCHING
        await healed(rig, clinic, goal[0], node)
        run = await rig.run(goal[0])
        steps = await rig.steps(goal[0])
        assert all(step.outcome is not None for step in steps)
        assert run.used.tool_calls == sum(step.intent.kind == "tool" for step in steps)
        assert run.used.cost_usd == (Decimal("0.002") if by_model else 0)
        told = [event.type for event in await rig.events(goal[0])]
        assert told.count(EventType.RUN_STARTED) == told.count(EventType.RUN_FINISHED) == 1
        assert told.count(EventType.TOOL_STARTED) == told.count(EventType.TOOL_FINISHED) == run.used.tool_calls
        assert [event.sequence for event in await rig.events(goal[0])] == list(range(1, len(told) + 1))
    assert due > 10


async def walked(rig: Rig, one: Callable[[int], Awaitable[int]]) -> int:
    """Do the same thing again and again, each time dying one boundary later, until it ends before; return how often."""
    for due in range(1, BOUNDARIES_MAX):
        real = rig.world.store
        passed = await one(due)
        rig.world.store = real
        rig.build()
        if passed < due:
            return due
    raise AssertionError("there is no end of boundaries")


async def test_a_goal_that_a_model_reads_survives_a_kill_at_every_boundary_and_launches_once(rig: Rig) -> None:
    def answer(request: ModelRequest) -> Any:  # Any: what a script may hold
        assert request.schema is not None
        return said("train", "train", jobs=[{"name": "train", "gpu_quote": "1 H100", "duration_quote": None}])

    async def one(due: int) -> int:
        async def ask() -> None:
            goal = await rig.orchestrator.create_goal(
                rig.ada,
                text="train on 1 H100 for 1 hour: `python train.py`",
                request_id=f"launch-{due}",
                budget_usd=None,
                timezone="",
            )
            await rig.drive(run_id_of(goal.id))
            assert goal.state in (GoalState.PLANNING, GoalState.RUNNING)
            made[:] = [goal]

        made: list[Goal] = []
        passed = await until_done(rig, ask, due, answer)
        goal = await rig.goal(made[0].id)
        assert (goal.state, (await rig.run(goal)).state) == (GoalState.RUNNING, RunState.WATCHING)
        assert len(await rig.jobs(goal)) == 1
        assert [one.kind for one in await rig.actions() if one.goal_id == goal.id] == ["launch_jobs"]
        return passed

    assert await walked(rig, one) > 5


async def test_scaling_survives_a_kill_at_every_boundary_and_stops_each_job_once(rig: Rig) -> None:
    async def one(due: int) -> int:
        user = await rig.world.user(f"bob-{due}")
        await rig.world.launch(user, *(spec(f"api-{due}-{number}") for number in range(3)))

        async def ask() -> None:
            goal = await rig.orchestrator.create_goal(
                principal(user),
                text=f"scale endpoint api-{due} to 1 replicas",
                request_id="s",
                budget_usd=None,
                timezone="",
            )
            await rig.drive(run_id_of(goal.id))
            made[:] = [goal]

        made: list[Goal] = []
        passed = await until_done(rig, ask, due)
        goal = await rig.goal(made[0].id)
        assert goal.state is GoalState.SUCCEEDED, goal.result
        stops = [one for one in await rig.actions() if one.goal_id == goal.id and one.kind == "stop_job"]
        assert len({one.job_id for one in stops}) == len(stops) == 2
        assert "1 of 1 wanted replicas" in goal.result
        return passed

    assert await walked(rig, one) > 5


@pytest.mark.parametrize("by_model", [False, True], ids=["rules", "model"])
async def test_a_failed_job_is_run_again_once_whatever_boundary_its_run_is_killed_at(rig: Rig, by_model: bool) -> None:
    def answer(request: ModelRequest) -> Any:  # Any: what a script may hold
        if request.schema_name == "remedy":
            return {"choice": "retry", "why": "it looks passing"}
        return said("train", "train", jobs=[{"name": "train", "gpu_quote": "1 H100", "duration_quote": None}])

    text = "train on 1 H100 for 1 hour: `python train.py`"
    text = text if by_model else "fine-tune llama-3-8b on 1 H100 for 1 hour, then benchmark it on 1 H100 for 1 hour"
    node = await rig.node()

    async def one(due: int) -> int:
        script = answer if by_model else None
        build(rig, Reaper(due=-1), script)
        goal = await rig.orchestrator.create_goal(
            rig.ada, text=text, request_id=f"again-{due}", budget_usd=None, timezone=""
        )
        await rig.drive(run_id_of(goal.id))
        before = {job.id for job in await rig.jobs(goal)}
        failed = next(job for job in await rig.jobs(goal) if not job.spec.depends_on)
        where = (Placement(0, node.id, (f"GPU-{node.name}-0",)),)
        await rig.world.propose(PlaceJob(failed.id, 1, "H100", where, "a test wants it"))
        await rig.world.report_of(failed.id, AllocationState.ENDED, ExitReason.SUPERVISOR_LOST)
        placed = PlaceJob(failed.id, 2, "H100", where, "a test wants it")
        await rig.world.propose(placed)
        await rig.world.report_of(failed.id, AllocationState.ENDED, ExitReason.SUPERVISOR_LOST)
        await rig.world.propose(replace(placed, epoch=3))
        await rig.world.report_of(failed.id, AllocationState.ENDED, ExitReason.SUPERVISOR_LOST)
        rig.world.clock.advance(3)

        async def go_on() -> None:
            await rig.drive(run_id_of(goal.id))

        passed = await until_done(rig, go_on, due, script)
        after = [job for job in await rig.jobs(goal) if job.id not in before]
        assert [job.state for job in after] == [JobState.QUEUED] * len(before), (due, after)
        launches = [one for one in await rig.actions() if one.goal_id == goal.id and one.kind == "launch_jobs"]
        assert [one.state for one in launches] == [ActionState.DONE] * 2
        assert (await rig.goal(goal.id)).state is GoalState.RUNNING
        told = [event.type for event in await rig.events(goal)]
        assert told.count(EventType.REPLANNED) == told.count(EventType.DIAGNOSIS) == 1
        assert [event.sequence for event in await rig.events(goal)] == list(range(1, len(told) + 1))
        steps = await rig.steps(goal)
        assert all(step.outcome is not None for step in steps)
        assert (await rig.run(goal)).used.turns == sum(step.intent.kind in ("plan", "choose") for step in steps)
        return passed

    assert await walked(rig, one) > 5
