"""What is written down of an action, whatever becomes of it: the audit, and the state of the goal that it is for."""

from collections.abc import Mapping
from decimal import Decimal

from control_plane.governor.rules import Ruling, Verdict
from control_plane.governor.summary import node_of, summarize
from control_plane.model.action import Action, ActionState, Effect, LaunchJobs
from control_plane.model.goal import GoalState
from control_plane.store import audit, goals, nodes
from control_plane.store.database import Tx

_GOAL_STATES: Mapping[ActionState, GoalState] = {
    ActionState.DONE: GoalState.RUNNING,
    ActionState.AWAITING_APPROVAL: GoalState.AWAITING_APPROVAL,
    ActionState.DENIED: GoalState.REFUSED,
    ActionState.REJECTED: GoalState.REFUSED,
    ActionState.EXPIRED: GoalState.FAILED,
    ActionState.FAILED: GoalState.FAILED,
}

_BEFORE_LAUNCH = (GoalState.SUBMITTED, GoalState.PLANNING, GoalState.AWAITING_APPROVAL)


def follow_goal(tx: Tx, action: Action) -> None:
    """Let a goal follow what was decided about launching its jobs."""
    if not isinstance(action.effect, LaunchJobs) or action.goal_id is None:
        return
    if goals.require(tx, action.goal_id).state not in _BEFORE_LAUNCH:
        return  # what is launched in the place of its failed jobs, or is not, is its run's affair
    if action.state is ActionState.DONE:
        reason = ""
    elif action.state is ActionState.AWAITING_APPROVAL:
        reason = f"{action.id} needs approval: orquanta action approve {action.id}"
    else:
        reason = action.outcome
    goals.update(tx, action.goal_id, state=_GOAL_STATES[action.state], status_reason=reason)


def told(tx: Tx, effect: Effect, estimate_usd: Decimal) -> str:
    """Return the effect in one line, with its node called by its name."""
    node_id = node_of(effect)
    node = None if node_id is None else nodes.get(tx, node_id)
    return summarize(effect, estimate_usd, node_name="" if node is None else node.name)


def lines(verdicts: tuple[Verdict, ...]) -> tuple[str, ...]:
    """Return the verdicts as the lines of an action's decision."""
    return tuple(verdict.line() for verdict in verdicts)


def denials(verdicts: tuple[Verdict, ...]) -> str:
    """Return why it is denied, in one line."""
    return "; ".join(verdict.text for verdict in verdicts if verdict.ruling is Ruling.DENY)


def record(
    tx: Tx, action: Action, reasoning: str, cost_impact_usd: Decimal = Decimal(0), *, agent_name: str = ""
) -> None:
    """Put what became of the action into the audit; `agent_name` is who decided, the proposer if empty."""
    audit.append(
        tx,
        agent_name=agent_name or action.proposer,
        action=f"{action.kind}.{action.state.value}",
        reasoning=reasoning,
        outcome=action.state.value,
        payload={
            "summary": action.summary,
            "decision": list(action.decision),
            "outcome": action.outcome,
            "hash": action.hash,
            "policy_version": action.policy_version,
        },
        cost_impact_usd=cost_impact_usd,
        action_id=action.id,
        goal_id=action.goal_id or "",
        job_id=action.job_id or "",
        node_id=action.node_id or "",
        run_id=action.run_id or "",
        user_id=action.user_id or "",
    )
