"""Actions as rows: what a column holds of each, and back."""

from collections.abc import Mapping
from typing import Any

from control_plane.model.action import Action, ActionState
from control_plane.model.approval import Approval, ApprovalNeed
from control_plane.model.effects import effect_from_json
from control_plane.model.ids import ActionId, GoalId, JobId, NodeId, RunId, UserId
from control_plane.model.money import from_micros, to_micros
from control_plane.store.tables import ActionRow


def model(row: ActionRow, given: tuple[Approval, ...]) -> Action:
    """Return the action of a row, with the approvals that count."""
    return Action(
        id=ActionId(row.id),
        kind=row.kind,
        effect=effect_from_json(row.arguments_json),
        proposer=row.proposer,
        user_id=None if row.user_id is None else UserId(row.user_id),
        goal_id=None if row.goal_id is None else GoalId(row.goal_id),
        job_id=None if row.job_id is None else JobId(row.job_id),
        node_id=None if row.node_id is None else NodeId(row.node_id),
        state=ActionState(row.state),
        summary=row.summary,
        reasoning=row.reasoning,
        decision=tuple(row.decision),
        hash=row.hash,
        arguments_json=row.arguments_json,
        estimate_usd=from_micros(row.estimate_usd_micros),
        decided_by=row.decided_by,
        outcome=row.outcome,
        created_at=row.created_at,
        expires_at=row.expires_at,
        finished_at=row.finished_at,
        approval_need=_need(row.approval_need),
        approvals=given,
        policy_version=row.policy_version,
        run_id=None if row.run_id is None else RunId(row.run_id),
        tainted=row.tainted,
        undoes=None if row.undoes is None else ActionId(row.undoes),
        undone_by=None if row.undone_by is None else ActionId(row.undone_by),
        is_person=row.is_person,
    )


def _need(document: Mapping[str, Any] | None) -> ApprovalNeed | None:  # Any: as the column says
    if document is None:
        return None
    return ApprovalNeed(int(document["count"]), tuple(document["allowed"]), int(document["ttl_seconds"]))


def need_document(need: ApprovalNeed | None) -> dict[str, Any] | None:  # Any: as the column says
    """Return what an action needs as its column keeps it."""
    if need is None:
        return None
    return {"count": need.count, "allowed": list(need.allowed), "ttl_seconds": need.ttl_seconds}


def values(action: Action) -> dict[str, Any]:  # Any: a column's value
    """Return the columns of an action that is proposed."""
    return {
        "id": action.id,
        "kind": action.kind,
        "proposer": action.proposer,
        "user_id": action.user_id,
        "goal_id": action.goal_id,
        "job_id": action.job_id,
        "node_id": action.node_id,
        "state": action.state.value,
        "summary": action.summary,
        "reasoning": action.reasoning,
        "decision": list(action.decision),
        "hash": action.hash,
        "arguments_json": action.arguments_json,
        "estimate_usd_micros": to_micros(action.estimate_usd),
        "decided_by": action.decided_by,
        "outcome": action.outcome,
        "created_at": action.created_at,
        "expires_at": action.expires_at,
        "finished_at": action.finished_at,
        "approval_need": need_document(action.approval_need),
        "policy_version": action.policy_version,
        "run_id": action.run_id,
        "tainted": action.tainted,
        "is_person": action.is_person,
        "undoes": action.undoes,
    }
