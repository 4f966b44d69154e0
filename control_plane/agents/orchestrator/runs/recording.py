"""Writes down what a run does: intent before, outcome after, and tells it to those who watch."""

from collections.abc import Sequence

from control_plane.agents.orchestrator.names import NAME
from control_plane.agents.orchestrator.runs import limits
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.view import RunView, model_cost
from control_plane.model.agent import AgentStatus
from control_plane.model.ids import RunId
from control_plane.model.redaction import Json
from control_plane.model.run import EventType
from control_plane.model.run_replan import replan_from_json
from control_plane.model.run_step import Intent, Outcome, RunStep, StepKind
from control_plane.model.tool import ToolStatus
from control_plane.store import agents, goals, run_events, run_steps, runs
from control_plane.store.database import Tx

RECALL = "recall_memory"
_WARNED = "warned"
_WHY_CHARS = 300
_SHOWN_CHARS = 1_500  # of a model's text or a tool's result in an event


def begin(tx: Tx, view: RunView, intent: Intent) -> RunStep | None:
    """Write down the next step, or nothing if the run or its goal has been ended meanwhile."""
    book = runs.book(tx, view.run.id)
    if book is None or book.run.state.ended or book.stop_reason:
        return None
    if view.goal is not None and goals.require(tx, view.goal.id).state.ended:
        return None
    agent = agents.get(tx, NAME)
    if agent is not None and agent.paused:
        return None
    status = AgentStatus.THINKING if intent.kind is not StepKind.TOOL else AgentStatus.ACTING
    show_status(tx, status, f"{view.run.id}: {_what(intent)}")
    if intent.kind is StepKind.TOOL:
        run_events.append(
            tx,
            view.run.id,
            EventType.TOOL_STARTED,
            f"{intent.name}: {intent.reasoning}" if intent.reasoning else intent.name,
            data={"tool": intent.name, "arguments": intent.arguments_json[:_SHOWN_CHARS], "step": view.number},
        )
    return run_steps.begin(tx, view.run.id, view.number, intent)


def finish(tx: Tx, step: RunStep, outcome: Outcome, policy: RunPolicy) -> bool:
    """Write down what came of a step, account for it once, and tell it."""
    turns = int(step.intent.kind in (StepKind.PLAN, StepKind.THINK, StepKind.CHOOSE))
    calls = int(step.intent.kind is StepKind.TOOL)
    if not run_steps.finish(tx, step.run_id, step.number, outcome, turns=turns, tool_calls=calls):
        return False
    if turns:
        runs.spent_at_least(tx, step.run_id, model_cost(tx, runs.require(tx, step.run_id)))
    kind, message, data = _told(step, outcome)
    run_events.append(
        tx,
        step.run_id,
        kind,
        message,
        data=data,
        evidence_ids=_evidence(outcome),
        tainted=outcome.untrusted,
        action_id=outcome.action_id or "",
    )
    if step.intent.name == RECALL and outcome.status in (ToolStatus.OK, ToolStatus.NO_DATA):
        _tell_memories(tx, step.run_id, outcome)
    if outcome.action_id is not None and step.intent.kind in (StepKind.TOOL, StepKind.REPLAN):
        _tell_decision(tx, step.run_id, outcome)
    _warn(tx, step.run_id, policy)
    return True


def show_status(tx: Tx, status: AgentStatus, last_action: str | None = None) -> None:
    """Show what the orchestrator does; nothing is written while that stays the same."""
    agent = agents.get(tx, NAME)
    if agent is None or (agent.status is status and status is AgentStatus.IDLE):
        return
    agents.record(tx, NAME, status=status, last_action=last_action)


def _what(intent: Intent) -> str:
    match intent.kind:
        case StepKind.PLAN:
            return "has a model read the goal"
        case StepKind.THINK:
            return "has a model choose what to do next"
        case StepKind.CHOOSE:
            return f"has a model choose what to do about {intent.name}"
        case StepKind.REPLAN:
            return f"runs {intent.name} again"
        case _:
            return f"calls {intent.name}"


def _told(step: RunStep, outcome: Outcome) -> tuple[EventType, str, dict[str, Json]]:
    data: dict[str, Json] = {"step": step.number, "status": outcome.status}
    if outcome.error_code:
        data["error_code"] = outcome.error_code
    match step.intent.kind:
        case StepKind.TOOL:
            data |= {"tool": step.intent.name, "shown": outcome.shown[:_SHOWN_CHARS]}
            return EventType.TOOL_FINISHED, f"{step.intent.name}: {outcome.status.replace('_', ' ')}", data
        case StepKind.DECISION:
            return EventType.APPROVAL_DECIDED, f"{step.intent.name} is {outcome.status}: {outcome.shown}", data
        case StepKind.PLAN:
            data |= _used(outcome) | {"plan": outcome.data.get("data")}
            text = "a model has read the goal" if outcome.status == "replied" else f"no model: {outcome.error_code}"
            return EventType.PLAN_PROPOSED, text, data
        case StepKind.THINK:
            data |= _used(outcome) | {"calls": [str(one["name"]) for one in _calls(outcome)]}
            text = str(outcome.data.get("text", "")) or f"wants {len(_calls(outcome))} calls"
            return EventType.MODEL_REPLIED, text if outcome.status == "replied" else outcome.error_code, data
        case StepKind.CHOOSE:
            said = outcome.data.get("data")
            choice = said if isinstance(said, dict) else {}
            data |= _used(outcome) | {"job_id": step.intent.name, "choice": str(choice.get("choice", ""))}
            text = f"{choice.get('choice', '')}: {str(choice.get('why', ''))[:_WHY_CHARS]}"
            return EventType.MODEL_REPLIED, text if choice else f"no choice: {outcome.error_code}", data
        case StepKind.REPLAN:
            replan = replan_from_json(step.intent.arguments_json)
            data |= {
                "job_id": replan.job_id,
                "cause": replan.cause,
                "remedy": replan.remedy.value,
                "jobs": [{"failed": old, "in_place": new} for old, new in replan.jobs],
            }
            return EventType.REPLANNED, f"{step.intent.reasoning}; {outcome.shown}".rstrip("; "), data


def _evidence(outcome: Outcome) -> tuple[str, ...]:
    own = (outcome.evidence_id,) if outcome.evidence_id else ()
    return (*own, *(str(one) for one in outcome.data.get("evidence_ids", ())))


def _calls(outcome: Outcome) -> Sequence[dict[str, Json]]:
    calls: Sequence[dict[str, Json]] = outcome.data.get("calls", ())
    return calls


def _used(outcome: Outcome) -> dict[str, Json]:
    return {
        "model": outcome.model,
        "input_tokens": outcome.input_tokens,
        "output_tokens": outcome.output_tokens,
        "cost_usd": str(outcome.cost_usd),
    }


def _tell_memories(tx: Tx, run_id: RunId, outcome: Outcome) -> None:
    found = [one for one in outcome.data.get("memories", ()) if isinstance(one, dict)]
    run_events.append(
        tx,
        run_id,
        EventType.MEMORY_RECALLED,
        f"{len(found)} memories" if found else "nothing is remembered of this",
        data={
            "memories": [
                {
                    "id": str(one.get("id", "")),
                    "actions": list(one.get("actions", ())),
                    "outcome": one.get("outcome", ""),
                }
                for one in found
            ]
        },
        evidence_ids=[str(one.get("evidence_id", "")) for one in found],
        tainted=True,
    )


def _tell_decision(tx: Tx, run_id: RunId, outcome: Outcome) -> None:
    lines = outcome.data.get("decision", ())
    run_events.append(
        tx,
        run_id,
        EventType.POLICY_DECISION,
        f"{outcome.action_id}: {(str(outcome.data.get('state', '')) or outcome.status).replace('_', ' ')}",
        data={"decision": [str(line) for line in lines], "state": str(outcome.data.get("state", ""))},
        evidence_ids=(f"action:{outcome.action_id}",),
        action_id=outcome.action_id or "",
    )


def _warn(tx: Tx, run_id: RunId, policy: RunPolicy) -> None:
    """Tell once for each limit that it is nearly used up."""
    book = runs.book(tx, run_id)
    if book is None:
        return
    warned = list(book.notes.get(_WARNED, ()))
    left = limits.nearly_used(book.run.used, book.run.limits, policy.warn_percent)
    fresh = {name: words for name, words in left.items() if name not in warned}
    if fresh:
        run_events.append(
            tx, run_id, EventType.LIMIT_WARNING, f"left: {'; '.join(fresh.values())}", data={"left": dict(fresh)}
        )
        runs.note(tx, run_id, notes={_WARNED: [*warned, *fresh]})
