"""Actions and the kill switch on the wire."""

from typing import Final

from control_plane.model.action import Action, ActionState, KillSwitch
from control_plane.model.approval import Approval, ApprovalNeed
from control_plane.model.money import to_micros
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import action_pb2

ACTION_STATE: Final = wire_enum(ActionState, action_pb2.ActionState.Value, "ACTION_STATE")


def action(value: Action) -> action_pb2.Action:
    """Return an action."""
    return action_pb2.Action(
        id=value.id,
        kind=value.kind,
        proposer=value.proposer,
        user_id=value.user_id or "",
        goal_id=value.goal_id or "",
        job_id=value.job_id or "",
        node_id=value.node_id or "",
        state=ACTION_STATE[value.state],
        summary=value.summary,
        reasoning=value.reasoning,
        decision=value.decision,
        hash=value.hash,
        estimate_usd_micros=to_micros(value.estimate_usd),
        arguments_json=value.arguments_json,
        decided_by=value.decided_by,
        created_at=timestamp(value.created_at),
        expires_at=timestamp(value.expires_at),
        finished_at=timestamp(value.finished_at),
        outcome=value.outcome,
        approvals=[approval(one) for one in value.approvals],
        approval_need=None if value.approval_need is None else approval_need(value.approval_need),
        policy_version=value.policy_version,
        run_id=value.run_id or "",
        tainted=value.tainted,
        undoes_action_id=value.undoes or "",
        undone_by_action_id=value.undone_by or "",
    )


def approval(value: Approval) -> action_pb2.Approval:
    """Return one person's approval."""
    return action_pb2.Approval(
        approver=value.approver,
        hash=value.hash,
        reason=value.reason,
        approved_at=timestamp(value.approved_at),
        grant_id=value.grant_id or "",
    )


def approval_need(value: ApprovalNeed) -> action_pb2.ApprovalNeed:
    """Return who must approve."""
    need = action_pb2.ApprovalNeed(count=value.count, ttl_seconds=value.ttl_seconds)
    getattr(need, "from").extend(value.allowed)  # the contract's name is a word of Python
    return need


def kill_switch(value: KillSwitch) -> action_pb2.KillSwitch:
    """Return the kill switch."""
    return action_pb2.KillSwitch(
        engaged=value.engaged,
        changed_by=value.changed_by,
        reason=value.reason,
        changed_at=timestamp(value.changed_at),
    )
