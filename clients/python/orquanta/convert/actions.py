"""Actions and the kill switch from the wire."""

from orquanta.convert.scalars import read_enum, read_time, read_usd
from orquanta.types.actions import Action, ActionState, Approval, ApprovalNeed, KillSwitch
from orquanta.v1 import action_pb2 as pb


def read_action(message: pb.Action) -> Action:
    """An action."""
    return Action(
        id=message.id,
        kind=message.kind,
        proposer=message.proposer,
        user_id=message.user_id,
        goal_id=message.goal_id,
        job_id=message.job_id,
        node_id=message.node_id,
        state=read_enum(ActionState, pb.ActionState, message.state),
        summary=message.summary,
        reasoning=message.reasoning,
        decision=tuple(message.decision),
        hash=message.hash,
        estimate_usd=read_usd(message.estimate_usd_micros),
        arguments_json=message.arguments_json,
        decided_by=message.decided_by,
        created_at=read_time(message.created_at),
        expires_at=read_time(message.expires_at),
        finished_at=read_time(message.finished_at),
        outcome=message.outcome,
        approvals=tuple(read_approval(one) for one in message.approvals),
        approval_need=read_approval_need(message.approval_need) if message.HasField("approval_need") else None,
        policy_version=message.policy_version,
        run_id=message.run_id,
        tainted=message.tainted,
        undoes=message.undoes_action_id,
        undone_by=message.undone_by_action_id,
    )


def read_approval(message: pb.Approval) -> Approval:
    """One person's approval."""
    return Approval(
        approver=message.approver,
        hash=message.hash,
        reason=message.reason,
        approved_at=read_time(message.approved_at),
        grant_id=message.grant_id,
    )


def read_approval_need(message: pb.ApprovalNeed) -> ApprovalNeed:
    """Who must approve."""
    return ApprovalNeed(
        count=message.count,
        allowed=tuple(getattr(message, "from")),  # the contract's name is a word of Python
        ttl_seconds=message.ttl_seconds,
    )


def read_kill_switch(message: pb.KillSwitch) -> KillSwitch:
    """The kill switch."""
    return KillSwitch(
        engaged=message.engaged,
        changed_by=message.changed_by,
        reason=message.reason,
        changed_at=read_time(message.changed_at),
    )
