"""Decides the next move of a run from its rows. Pure: after a crash the same rows lead to the same move."""

import json
from collections.abc import Mapping

from control_plane.agents.orchestrator.runs import choosing, context, limits, replanning
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.moves import (
    BY_RULES,
    AwaitApproval,
    ByRules,
    Call,
    Choose,
    Decided,
    Finish,
    Move,
    Pursue,
    ReadGoal,
    Redo,
    RunAgain,
    Think,
    Watch,
)
from control_plane.agents.orchestrator.runs.report import partial
from control_plane.agents.orchestrator.runs.rules import heal, questions, scale
from control_plane.agents.orchestrator.runs.view import RunView, load
from control_plane.fleet.remedies_words import sentence
from control_plane.model.goal import GoalState
from control_plane.model.job import JobState
from control_plane.model.plan import Intent
from control_plane.model.run import RunState
from control_plane.model.run_step import Outcome, StepKind
from control_plane.model.tool import ToolEffect, ToolStatus
from control_plane.reasoning.errors import ModelBudgetExceeded

PHASE = "phase"
READING = "reading"
"""A model reads the goal, before anything is done."""
WORKING = "working"
"""Tools are called until there is an answer."""
LAUNCHED = "launched"
"""The goal's jobs are queued or run; the run watches them."""

RUN_INTENTS = frozenset({Intent.QUERY, Intent.COST, Intent.HEAL, Intent.SCALE})
"""The intents that a run works on with tools; the others are carried out by code as they were planned."""


def next_move(view: RunView, policy: RunPolicy, effects: Mapping[str, ToolEffect]) -> Move:
    """Return the run's next move. `effects` are those of the tools that its person may use."""
    if view.book.stop_reason:
        return partial(view, RunState.STOPPED, view.book.stop_reason)
    if view.owner is None or view.owner.disabled:
        return partial(view, RunState.STOPPED, "the person it acted for has no account any more, or it is disabled")
    if view.goal is not None and view.goal.state.ended:
        return _after_goal(view)
    if view.goal is not None and view.goal.state is GoalState.NEEDS_INPUT:
        return replanning.waiting(view) or Watch("waits for an answer to its questions")
    if view.unfinished is not None:
        return Redo(view.unfinished)
    move = _waits(view)
    if move is not None:
        return move
    match view.book.notes.get(PHASE):
        case "reading":
            read = any(step.intent.kind is StepKind.PLAN for step in view.steps)
            move = Pursue() if read else ReadGoal()
        case "launched":
            move = replanning.decide(view, policy)
        case _:
            move = _by_rules(view) if view.run.reasoner == BY_RULES else _by_model(view)
    if isinstance(move, Finish) and move.state is RunState.SUCCEEDED:
        move = _after_its_jobs(view, policy, move)
    return _within(view, policy, effects, move)


def _after_goal(view: RunView) -> Move:
    """The goal has ended, by its jobs or by a person: find the cause if a job failed, and end the run with it."""
    goal = view.goal
    if goal is None:
        raise LookupError(f"run {view.run.id} has no goal")
    failed = next((job for job in view.current_jobs if job.state is JobState.FAILED), None)
    look = None if failed is None or view.run.diagnosis is not None else replanning.undiagnosed(view, failed)
    if look is not None:
        return look
    state = {
        GoalState.SUCCEEDED: RunState.SUCCEEDED,
        GoalState.CANCELLED: RunState.STOPPED,
    }.get(goal.state, RunState.FAILED)
    result = goal.result or sentence(goal.status_reason)
    diagnosis = view.run.diagnosis
    if diagnosis is not None and state is not RunState.SUCCEEDED:
        result = f"{result}\n\n{sentence(diagnosis.summary)}\n{sentence(diagnosis.advice)}".strip()
    evidence = view.evidence() + (tuple(one.id for one in diagnosis.evidence) if diagnosis is not None else ())
    return Finish(state, result, goal.status_reason, tuple(dict.fromkeys(evidence)))


def _after_its_jobs(view: RunView, policy: RunPolicy, done: Finish) -> Move:
    """A run that launched jobs by a tool has succeeded when they have, as one whose plan held them."""
    if any(job.state is JobState.FAILED for job in view.current_jobs):
        return replanning.decide(view, policy)
    return Watch("its jobs are queued or running") if any(not job.state.ended for job in view.jobs) else done


def _waits(view: RunView) -> Move | None:
    """Return what follows from actions that people have to decide, or None if there are none."""
    open_ids = []
    for action_id in view.book.waits_for:
        action = view.actions.get(action_id)
        if action is not None and action.state.ended and view.decision(action_id) is None:
            return Decided(action)
        if action is not None and not action.state.ended:
            open_ids.append(action_id)
    if open_ids:
        return AwaitApproval(tuple(open_ids))
    tries = [one.outcome for one in view.steps if one.intent.kind is StepKind.REPLAN and one.outcome is not None]
    for outcome in (*(one for _, one in view.calls()), *tries):
        asked = outcome.status == ToolStatus.APPROVAL_REQUIRED and outcome.action_id is not None
        if asked and outcome.action_id is not None and view.decision(outcome.action_id) is None:
            return AwaitApproval((outcome.action_id,))
    return None


def _by_rules(view: RunView) -> Move:
    match view.plan.intent:
        case Intent.HEAL:
            return heal.decide(view)
        case Intent.SCALE:
            return scale.decide(view)
        case _:
            return questions.decide(view)


def _by_model(view: RunView) -> Move:
    """Do what the model's newest reply asks for, one call after another; without calls it is the answer."""
    thought = next((step for step in reversed(view.steps) if step.intent.kind is StepKind.THINK), None)
    if thought is None or thought.outcome is None:
        return Think()
    if thought.outcome.error_code == ModelBudgetExceeded.__name__ and view.evidence():
        return partial(
            view, RunState.LIMITED, "a limit ended it: what is left of the money or the tokens for the model"
        )
    if thought.outcome.status != "replied":
        return ByRules(f"no model could be asked ({thought.outcome.error_code})")
    calls = list(thought.outcome.data.get("calls", ()))
    answered = sum(step.intent.kind is StepKind.TOOL and step.intent.turn == thought.number for step in view.steps)
    if answered < len(calls):
        call = calls[answered]
        return Call(
            tool=str(call["name"]),
            arguments=load(str(call["arguments_json"])),
            why=str(thought.outcome.data.get("text", ""))[:500],
            turn=thought.number,
            call_id=str(call["id"]),
            arguments_json=str(call["arguments_json"]),
        )
    if calls:
        return Think()
    return _answer(view, thought.outcome)


def _answer(view: RunView, outcome: Outcome) -> Move:
    text = str(outcome.data.get("text", "")).strip()
    if not text or not view.evidence():
        return ByRules("the model's answer rests on nothing that was read")
    if view.plan.intent is Intent.HEAL:
        return heal.settle(view, text)
    if view.plan.intent is Intent.SCALE:
        return scale.settle(view, text)
    return Finish(RunState.SUCCEEDED, text, "", view.evidence())


def _within(view: RunView, policy: RunPolicy, effects: Mapping[str, ToolEffect], move: Move) -> Move:
    """Return the move, or an honest end if it could break a limit."""
    used_up = ""
    match move:
        case Think():
            used_up = limits.before_turn(view, input_tokens=context.size(context.messages(view, policy)))
        case Choose():
            shown = context.size(choosing.messages(view, move.job_id, move.offered))
            if no_more := limits.before_turn(view, input_tokens=shown):
                return ByRules(f"a limit lets no model be asked: {no_more}")
        case RunAgain():
            if late := limits.over_time(view):
                return replanning.cut_short(view, f"its run has used {late}")
        case Call():
            effect = effects.get(move.tool, ToolEffect.DESTRUCTIVE)
            used_up = limits.before_call(view, policy, move.tool, arguments_of(move), effect)
        case _:
            pass
    return partial(view, RunState.LIMITED, f"a limit ended it: {used_up}") if used_up else move


def arguments_of(call: Call) -> str:
    """Return a call's arguments as JSON: a model's own text, or what rules want."""
    return json.dumps(dict(call.arguments), sort_keys=True) if call.arguments_json is None else call.arguments_json
