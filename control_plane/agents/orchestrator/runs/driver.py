"""Takes one move of a run after another. The process may die between any two writes: the rows say how to go on."""

from dataclasses import replace
from datetime import timedelta

import structlog

from control_plane.agents.orchestrator.runs import failures, recording
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.effects import Effects
from control_plane.agents.orchestrator.runs.ending import end, fallback_diagnosis
from control_plane.agents.orchestrator.runs.moves import (
    BY_RULES,
    AskPerson,
    AwaitApproval,
    ByRules,
    Call,
    Choose,
    Decided,
    Diagnose,
    Finish,
    Pursue,
    ReadGoal,
    Redo,
    RunAgain,
    Think,
    Watch,
)
from control_plane.agents.orchestrator.runs.ports import Diagnoser, GoalPursuit
from control_plane.agents.orchestrator.runs.report import partial
from control_plane.agents.orchestrator.runs.state import arguments_of, next_move
from control_plane.agents.orchestrator.runs.view import RunView, load_view
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.model.agent import AgentStatus
from control_plane.model.goal import GoalState
from control_plane.model.ids import JobId, RunId
from control_plane.model.run import EventType, RunState
from control_plane.model.run_replan import replan_to_json
from control_plane.model.run_step import Intent, Outcome, RunStep, StepKind
from control_plane.model.tool import ToolEffect
from control_plane.store import goals, run_events, run_steps, runs
from control_plane.store.database import Store, Tx

log = structlog.get_logger()

_WAITING = (RunState.WATCHING, RunState.AWAITING_APPROVAL, RunState.NEEDS_INPUT)


class Driver:
    """Advances runs. Each move is load → decide → begin → act → finish; only `act` is outside a transaction."""

    def __init__(
        self,
        store: Store,
        effects: Effects,
        pursuit: GoalPursuit,
        *,
        policy: RunPolicy,
        diagnose: Diagnoser | None = None,
    ) -> None:
        self._store = store
        self._effects = effects
        self._pursuit = pursuit
        self._policy = policy
        self._diagnose = diagnose

    async def advance(self, run_id: RunId) -> bool:
        """Take the run's next move. Return whether there is another one to take at once."""
        view = await self._store.read(lambda tx: load_view(tx, run_id))
        if view is None or view.run.state.ended:
            return False
        effects = self._effects.effects(view)
        view = replace(view, tools=frozenset(effects), prices=self._pursuit.prices)
        move = next_move(view, self._policy, effects)
        match move:
            case ReadGoal() | Think() | Call() | Choose() | RunAgain():
                return await self._step(view, self._intent(view, move))
            case Redo():
                return await self._take(view, move.step)
            case Watch():
                return await self._watch(view, move)
            case Diagnose():
                return await self._find_cause(view, move.job_id)
            case _:
                return await self._store.write(lambda tx: self._record(tx, view, move))

    async def give_up(self, run_id: RunId, why: str) -> None:
        """End a run that cannot go on by itself, with what it has found out."""

        def write(tx: Tx) -> None:
            view = load_view(tx, run_id)
            if view is not None and not view.run.state.ended:
                end(tx, view, partial(view, RunState.FAILED, why), self._pursuit)

        await self._store.write(write)

    def _record(
        self, tx: Tx, view: RunView, move: Pursue | Decided | AwaitApproval | ByRules | AskPerson | Finish
    ) -> bool:
        """Make a move that takes nothing but a transaction."""
        match move:
            case Pursue():
                return self._pursue(tx, view)
            case Decided():
                return self._decided(tx, view, move)
            case AwaitApproval():
                return _await(tx, view, move)
            case ByRules():
                return _by_rules(tx, view, move)
            case AskPerson():
                return failures.ask(tx, view, move)
            case Finish():
                return end(tx, view, move, self._pursuit)

    def _intent(self, view: RunView, move: ReadGoal | Think | Call | Choose | RunAgain) -> Intent:
        if isinstance(move, ReadGoal):
            return Intent(StepKind.PLAN, "read_goal")
        if isinstance(move, Think):
            return Intent(StepKind.THINK, "think")
        if isinstance(move, Choose):
            return Intent(StepKind.CHOOSE, move.job_id)
        if isinstance(move, RunAgain):
            arguments = replan_to_json(move.replan)
            return Intent(StepKind.REPLAN, move.replan.job_id, arguments, ToolEffect.WRITE, reasoning=move.why)
        effect = self._effects.effects(view).get(move.tool, ToolEffect.DESTRUCTIVE)
        return Intent(StepKind.TOOL, move.tool, arguments_of(move), effect, move.turn, move.call_id, move.why)

    async def _step(self, view: RunView, intent: Intent) -> bool:
        step = await self._store.write(lambda tx: recording.begin(tx, view, intent))
        return False if step is None else await self._take(view, step)

    async def _take(self, view: RunView, step: RunStep) -> bool:
        """Do what a step says, and write down what came of it."""
        match step.intent.kind:
            case StepKind.PLAN:
                outcome = await self._effects.read_goal(view)
            case StepKind.THINK:
                outcome = await self._effects.think(view)
            case StepKind.CHOOSE:
                outcome = await self._effects.choose(view, step)
            case StepKind.REPLAN:
                await self._store.write(lambda tx: failures.run_again(tx, view, step, self._pursuit, self._policy))
                return True
            case _:
                outcome = await self._effects.call_tool(view, step)
        await self._store.write(lambda tx: recording.finish(tx, step, outcome, self._policy))
        return True

    def _pursue(self, tx: Tx, view: RunView) -> bool:
        """Compare what a model has read with the rules' plan, and carry out what both allow."""
        if view.goal is None or runs.require(tx, view.run.id).state.ended:
            return False
        goal = goals.require(tx, view.goal.id)
        if goal.state.ended or goal.plan is None:
            return True
        read = next((step.outcome for step in reversed(view.steps) if step.intent.kind is StepKind.PLAN), None)
        said = None if read is None or read.status != "replied" else read.data.get("data")
        plan = self._pursuit.agree(goal, said, read.model if read is not None else "")
        if plan.planner == BY_RULES:
            runs.note(tx, view.run.id, reasoner=BY_RULES)
        self._pursuit.pursue(tx, view.principal, goal.id, plan, attempt=str(goal.version))
        return True

    def _decided(self, tx: Tx, view: RunView, move: Decided) -> bool:
        action = move.action
        number = view.number
        intent = Intent(StepKind.DECISION, action.id, effect=ToolEffect.READ)
        step = run_steps.begin(tx, view.run.id, number, intent)
        outcome = Outcome(
            action.state.value,
            {"outcome": action.outcome, "decided_by": action.decided_by},
            shown=action.outcome,
            evidence_id=f"action:{action.id}",
        )
        recording.finish(tx, step, outcome, self._policy)
        left = tuple(one for one in view.book.waits_for if one != action.id)
        if left:
            runs.set_state(tx, view.run.id, RunState.AWAITING_APPROVAL, view.run.status_reason, waits_for=left)
        else:
            runs.set_state(tx, view.run.id, RunState.RUNNING, "")
            _move_goal(tx, view, GoalState.AWAITING_APPROVAL, GoalState.RUNNING, "")
            run_events.append(tx, view.run.id, EventType.RUN_RESUMED, f"{action.id} is {action.state.value}")
        return True

    async def _watch(self, view: RunView, move: Watch) -> bool:
        """Wait for a change; a run that waits like this already is left as it is, apart from its alarm."""
        run, book = view.run, view.book
        state = RunState.NEEDS_INPUT if run.state is RunState.NEEDS_INPUT else RunState.WATCHING
        same = run.state in _WAITING and run.status_reason == move.reason and book.watches == move.nodes
        if same and (move.seconds is None or (book.wake_at is not None and book.wake_at > view.now)):
            return False
        wake_at = None if move.seconds is None else view.now + timedelta(seconds=move.seconds)
        fresh_nodes = set(move.nodes) - set(book.watches)

        def write(tx: Tx) -> None:
            runs.set_state(tx, run.id, state, move.reason, watches=move.nodes, wake_at=wake_at)
            recording.show_status(tx, AgentStatus.IDLE)
            if move.nodes:
                _move_goal(tx, view, GoalState.PLANNING, GoalState.RUNNING, move.reason)
            if not same:
                run_events.append(
                    tx, run.id, EventType.RUN_WAITING, move.reason, data={"nodes": [str(one) for one in move.nodes]}
                )

        await self._store.write(write)
        return bool(fresh_nodes)  # they are looked at at once: what is waited for may have come meanwhile

    async def _find_cause(self, view: RunView, job_id: JobId) -> bool:
        job = next((one for one in view.jobs if one.id == job_id), None)
        if job is None:
            return False
        diagnosis = fallback_diagnosis(job)
        if self._diagnose is not None:
            try:
                diagnosis = await self._diagnose(view.principal, job_id)
            except Unavailable:
                raise
            except OrQuantaError as error:
                log.warning("run.not_diagnosed", run_id=view.run.id, job_id=job_id, reason=error.reason)

        await self._store.write(lambda tx: failures.note_cause(tx, view, job, diagnosis))
        return True


def _await(tx: Tx, view: RunView, move: AwaitApproval) -> bool:
    if view.run.state is RunState.AWAITING_APPROVAL and view.book.waits_for == move.action_ids:
        return False
    ids = ", ".join(move.action_ids)
    text = f"{ids} needs approval: orquanta action approve {move.action_ids[0]}"
    runs.set_state(tx, view.run.id, RunState.AWAITING_APPROVAL, text, waits_for=move.action_ids)
    run_events.append(
        tx, view.run.id, EventType.APPROVAL_REQUESTED, text, data={"actions": [str(one) for one in move.action_ids]}
    )
    recording.show_status(tx, AgentStatus.IDLE)
    _move_goal(tx, view, GoalState.PLANNING, GoalState.AWAITING_APPROVAL, text)
    _move_goal(tx, view, GoalState.RUNNING, GoalState.RUNNING, text)
    return True  # it may have been decided meanwhile


def _move_goal(tx: Tx, view: RunView, before: GoalState, after: GoalState, reason: str) -> None:
    """Let the goal show what its run does, if it is where it is expected to be."""
    if view.goal is not None and goals.require(tx, view.goal.id).state is before:
        goals.update(tx, view.goal.id, state=after, status_reason=reason)


def _by_rules(tx: Tx, view: RunView, move: ByRules) -> bool:
    runs.note(tx, view.run.id, reasoner=BY_RULES)
    run_events.append(tx, view.run.id, EventType.RUN_RESUMED, f"goes on by rules: {move.reason}")
    return True
