"""Which approvals of an action count as things are now, and why the others do not."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from control_plane.errors import PermissionDenied, PreconditionFailed
from control_plane.governor.needs import may_approve, who_may
from control_plane.model.account import User
from control_plane.model.action import Action, ActionState
from control_plane.model.approval import Approval, ApprovalNeed
from control_plane.model.effects import effect_hash
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GoalId, UserId
from control_plane.model.money import format_usd
from control_plane.store import audit, users
from control_plane.store.database import Tx

ESTIMATE_RISE: Final = Decimal("1.10")
"""An estimate that is more than this times what was approved voids the approval."""


@dataclass(frozen=True, slots=True)
class Void:
    """An approval that does not count any more."""

    approval: Approval
    why: str


def standing(
    tx: Tx, action: Action, need: ApprovalNeed, estimate_usd: Decimal
) -> tuple[tuple[Approval, ...], tuple[Void, ...]]:
    """Return the approvals that count as things are now, and those that do not."""
    counted: list[Approval] = []
    voids: list[Void] = []
    for approval in action.approvals:
        why = _fault(tx, action, approval, need, estimate_usd)
        if why:
            voids.append(Void(approval, why))
        else:
            counted.append(approval)
    return tuple(counted), tuple(voids)


def _fault(tx: Tx, action: Action, approval: Approval, need: ApprovalNeed, estimate_usd: Decimal) -> str:
    account = users.get(tx, approval.user_id)
    if account is None or account.disabled:
        return f"the account of {approval.approver} is disabled"
    if not may_approve(need, account):
        return f"{approval.approver} may not approve it any more; {who_may(need)} may"
    if approval.hash != action.hash:
        return "it was given for other arguments"
    if has_risen(estimate_usd, approval.estimate_usd):
        return (
            f"it may cost {format_usd(estimate_usd)} by now, more than 10 % above the "
            f"{format_usd(approval.estimate_usd)} that {approval.approver} approved"
        )
    if is_requester(tx, action, account.id, account.email):
        return f"it is {approval.approver}'s own request"
    return ""


def has_risen(estimate_usd: Decimal, approved_usd: Decimal) -> bool:
    """Tell whether an estimate is so much above what was approved that it must be approved again."""
    return estimate_usd > approved_usd * ESTIMATE_RISE


def is_requester(tx: Tx, action: Action, user_id: UserId, email: str) -> bool:
    """Tell whether the action is this person's request: made by or for them, or shaped by their answers."""
    if user_id == action.user_id or email == action.proposer:
        return True
    return action.goal_id is not None and has_answered(tx, action.goal_id, user_id, email)


def has_answered(tx: Tx, goal_id: GoalId, user_id: UserId, email: str) -> bool:
    """Whoever answered a goal's questions has shaped what is asked for, as its owner has."""
    return audit.has_done(tx, "goal.answered", user_id, email, goal_id=goal_id)


def check_approver(tx: Tx, action: Action, approver: Principal) -> User:
    """Return the account of who is about to approve, as it is now.

    Raises PermissionDenied: AGENT_CREDENTIAL, ACCOUNT_DISABLED, ROLE_TOO_LOW, NOT_AN_APPROVER, SELF_APPROVAL.
    """
    check_person(approver)
    account = users.get(tx, approver.user_id)
    if account is None or account.disabled:
        raise PermissionDenied("the account is disabled; ask an administrator", reason="ACCOUNT_DISABLED")
    if not (approver.role.allows(Role.OPERATOR) and account.role.allows(Role.OPERATOR)):
        raise PermissionDenied("approving needs the role operator", reason="ROLE_TOO_LOW")
    if action.user_id == account.id or action.proposer == account.email:
        raise PermissionDenied("nobody approves their own request; ask another operator", reason="SELF_APPROVAL")
    if action.goal_id is not None and has_answered(tx, action.goal_id, account.id, account.email):
        raise PermissionDenied(
            f"you answered the questions of goal {action.goal_id}, so this is your request too; ask another operator",
            reason="SELF_APPROVAL",
        )
    if action.approval_need is not None and not may_approve(action.approval_need, account):
        raise PermissionDenied(
            f"this action can be approved by {who_may(action.approval_need)} only; ask one of them",
            reason="NOT_AN_APPROVER",
        )
    return account


def check_person(caller: Principal) -> None:
    """Refuse an agent's credential. Raises PermissionDenied: AGENT_CREDENTIAL."""
    if caller.for_agent:
        raise PermissionDenied(
            "this API key was made for an agent, and agents never approve; log in as a person with: orquanta login",
            reason="AGENT_CREDENTIAL",
        )


def check_awaits(action: Action, now: datetime) -> None:
    """Raises PreconditionFailed: ACTION_NOT_AWAITING, APPROVAL_EXPIRED."""
    if action.state is not ActionState.AWAITING_APPROVAL:
        raise PreconditionFailed(
            f"action {action.id} is {action.state.value.replace('_', ' ')}, not waiting for an approval",
            reason="ACTION_NOT_AWAITING",
        )
    if action.expires_at is not None and action.expires_at <= now:
        raise PreconditionFailed(
            f"the time to approve action {action.id} ran out at {action.expires_at:%H:%M UTC}; submit it again",
            reason="APPROVAL_EXPIRED",
        )


def check_frozen(action: Action, approved_hash: str) -> None:
    """Raises PreconditionFailed, ACTION_CHANGED, unless what is stored is what was shown and what was proposed."""
    if not action.hash == approved_hash == effect_hash(action.arguments_json):
        raise PreconditionFailed(
            f"action {action.id} is not the one that was shown; look at it again with: orquanta action show "
            f"{action.id}",
            reason="ACTION_CHANGED",
        )
