"""Begins the run of a goal: one goal has one run, whose id follows from the goal's."""

from collections.abc import Iterable

from control_plane.agents.orchestrator.names import NAME
from control_plane.agents.orchestrator.runs.moves import BY_RULES
from control_plane.agents.orchestrator.runs.state import LAUNCHED, PHASE, READING, WORKING
from control_plane.agents.orchestrator.runs.view import FOR_AGENT
from control_plane.model.action import Action
from control_plane.model.goal import Goal
from control_plane.model.ids import RUN, ActionId, GoalId, JobId, RunId, derived_id
from control_plane.model.plan import Intent, Plan
from control_plane.model.run import EventType, RunState, RunUsage
from control_plane.model.run_step import NewRun
from control_plane.store import jobs, nodes, run_events, runs
from control_plane.store.database import Tx

REPAIR_TOOL = "repair_node"
STOP_TOOL = "stop_job"


def run_id_of(goal_id: GoalId) -> RunId:
    """Return the id of the run that works on a goal."""
    return derived_id(RUN, goal_id)


def begin_reading(tx: Tx, goal: Goal, model_name: str, limits: RunUsage, *, for_agent: bool) -> RunId:
    """Begin a run whose first step has a model read the goal. `for_agent`: an agent's credential asked for it."""
    run_id = _insert(tx, goal, model_name, limits)
    runs.note(tx, run_id, notes={PHASE: READING, FOR_AGENT: for_agent})
    runs.set_state(tx, run_id, RunState.RUNNING, "")
    return run_id


def begin_working(tx: Tx, goal: Goal, plan: Plan, limits: RunUsage) -> RunId:
    """Let the goal's run call tools; without a run, one that goes by rules begins."""
    run_id = _insert(tx, goal, BY_RULES, limits)
    reasoner = BY_RULES if plan.intent is Intent.SCALE else None  # what it changes is what code has planned
    runs.note(tx, run_id, notes={PHASE: WORKING}, planned=planned_pairs(tx, goal, plan), reasoner=reasoner)
    runs.set_state(tx, run_id, RunState.RUNNING, "")
    return run_id


def begin_watching(
    tx: Tx, goal: Goal, limits: RunUsage, waits_for: Iterable[ActionId], *, plan: Plan, action: Action
) -> RunId:
    """Let the goal's run watch the jobs that were launched, or wait until people have decided about them."""
    known = runs.get(tx, run_id_of(goal.id)) is not None
    run_id = _insert(tx, goal, BY_RULES, limits)
    runs.note(tx, run_id, notes={PHASE: LAUNCHED})
    if not known:
        tell_plan(tx, run_id, plan)
    run_events.append(
        tx,
        run_id,
        EventType.POLICY_DECISION,
        f"{action.summary}: {action.state.value.replace('_', ' ')}",
        data={"decision": list(action.decision), "state": action.state.value},
        evidence_ids=(f"action:{action.id}",),
        action_id=action.id,
    )
    waits = tuple(waits_for)
    if waits:
        runs.set_state(tx, run_id, RunState.AWAITING_APPROVAL, "its jobs need an approval", waits_for=waits)
        text = f"{', '.join(waits)} needs approval"
        run_events.append(tx, run_id, EventType.APPROVAL_REQUESTED, text, data={"actions": list(waits)})
    else:
        runs.set_state(tx, run_id, RunState.WATCHING, "its jobs are queued or running")
    return run_id


def ask(tx: Tx, goal: Goal, plan: Plan, limits: RunUsage) -> RunId:
    """Let the goal's run wait for answers to the plan's questions."""
    run_id = _insert(tx, goal, BY_RULES, limits)
    text = " ".join(question.text for question in plan.questions)
    runs.set_state(tx, run_id, RunState.NEEDS_INPUT, text)
    run_events.append(
        tx, run_id, EventType.RUN_WAITING, text, data={"questions": [one.field for one in plan.questions]}
    )
    return run_id


def tell_plan(tx: Tx, run_id: RunId, plan: Plan) -> None:
    """Tell what was planned and that code has checked it."""
    run_events.append(
        tx,
        run_id,
        EventType.PLAN_VALIDATED,
        plan.summary,
        data={
            "intent": plan.intent.value,
            "planner": plan.planner,
            "jobs": [{"name": job.name, "gpu_type": job.gpu.gpu_type, "gpus": job.gpu.count} for job in plan.jobs],
            "questions": [one.field for one in plan.questions],
        },
    )


def planned_pairs(tx: Tx, goal: Goal, plan: Plan) -> frozenset[tuple[str, str]]:
    """Return the changes that the person's own words name: they stay planned, whatever the run reads afterwards."""
    pairs: set[tuple[str, str]] = set()
    if plan.intent is Intent.HEAL:
        found = (nodes.by_name(tx, name) for name in plan.targets.nodes)
        pairs |= {(REPAIR_TOOL, node.id) for node in found if node is not None}
        pairs |= {(REPAIR_TOOL, name) for name in plan.targets.nodes if name.startswith("n-")}
    if plan.intent is Intent.CANCEL:
        own = (jobs.get(tx, job_id, with_allocations=False) for job_id in map(JobId, plan.targets.job_ids))
        pairs |= {(STOP_TOOL, job.id) for job in own if job is not None and job.user_id == goal.user_id}
    return frozenset(pairs)


def _insert(tx: Tx, goal: Goal, reasoner: str, limits: RunUsage) -> RunId:
    run_id = run_id_of(goal.id)
    if runs.get(tx, run_id) is None:
        runs.insert(tx, NewRun(run_id, NAME, goal.id, goal.user_id, reasoner), limits=limits)
        text = f"works on goal {goal.id} for {goal.user_email}, by {reasoner}"
        run_events.append(tx, run_id, EventType.RUN_STARTED, text, data={"reasoner": reasoner})
    return run_id
