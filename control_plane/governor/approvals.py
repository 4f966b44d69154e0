"""Approvals: a person's yes or no to an action that waits, and what becomes of it if nobody says either."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from control_plane.errors import PermissionDenied, PreconditionFailed
from control_plane.fleet.prices import PriceTable
from control_plane.governor.carrying import carry_out
from control_plane.governor.recording import denials, follow_goal, lines, record
from control_plane.governor.rules import Ruling, Verdict, ruling
from control_plane.model.action import Action, ActionState, Proposal
from control_plane.model.effects import effect_hash
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import ActionId
from control_plane.store import actions, audit
from control_plane.store.database import Store, Tx

Judge = Callable[[Tx, Proposal], tuple[Verdict, ...]]
"""Judges a proposal that has been approved, as things are now."""


class Approvals:
    """Decides on actions that wait for a person."""

    def __init__(self, store: Store, *, judge: Judge, prices: PriceTable) -> None:
        self._store = store
        self._judge = judge
        self._prices = prices

    async def approve(self, action_id: ActionId, *, approver: Principal, hash: str, reason: str) -> Action:  # noqa: A002 - the field's own name
        """Approve exactly the action with this hash, judge it again as things are now, and carry it out.

        Raises NotFound, PermissionDenied for the requester or too low a role, PreconditionFailed otherwise.
        """
        return await self._store.write(lambda tx: self._approve(tx, action_id, approver, hash, reason))

    def _approve(self, tx: Tx, action_id: ActionId, approver: Principal, approved_hash: str, reason: str) -> Action:
        action = actions.require(tx, action_id)
        if action.decided_by == approver.email and action.state is ActionState.DONE:
            return action
        _check_decider(action, approver, tx.now)
        _check_stranger(tx, action, approver)
        if not action.hash == approved_hash == effect_hash(action.arguments_json):
            raise PreconditionFailed(
                f"action {action.id} is not the one that was shown; look at it again with: orquanta action show "
                f"{action.id}",
                reason="ACTION_CHANGED",
            )
        proposal = Proposal(
            id=action.id,
            effect=action.effect,
            proposer=action.proposer,
            reasoning=action.reasoning,
            is_person=False,
            user_id=action.user_id,
            goal_id=action.goal_id,
            job_id=action.job_id,
            node_id=action.node_id,
        )
        verdicts = self._judge(tx, proposal)
        decision = (*action.decision, f"approved by {approver.email}: {reason or 'no reason given'}", *lines(verdicts))
        if ruling(verdicts) is not Ruling.ALLOW:
            action = actions.update(
                tx,
                action.id,
                ActionState.DENIED,
                decision=decision,
                decided_by=approver.email,
                outcome=denials(verdicts),
            )
            cost_impact = Decimal(0)
        else:
            actions.update(tx, action.id, ActionState.APPROVED, decision=decision, decided_by=approver.email)
            actions.update(tx, action.id, ActionState.EXECUTING)
            ended, cost_impact = carry_out(tx, proposal, action, self._prices)
            action = actions.update(tx, action.id, ended.state, outcome=ended.outcome)
        record(tx, action, reason, cost_impact, agent_name=approver.email)
        follow_goal(tx, action)
        return action

    async def reject(self, action_id: ActionId, *, approver: Principal, reason: str) -> Action:
        """Reject an action that awaits approval. Raises NotFound, PermissionDenied or PreconditionFailed."""

        def decide(tx: Tx) -> Action:
            action = actions.require(tx, action_id)
            if action.decided_by == approver.email and action.state is ActionState.REJECTED:
                return action
            if action.user_id == approver.user_id:
                _check_awaits(action)
            else:
                _check_decider(action, approver, tx.now)
            text = f"rejected by {approver.email}: {reason or 'no reason given'}"
            rejected = actions.update(
                tx,
                action.id,
                ActionState.REJECTED,
                decision=(*action.decision, text),
                decided_by=approver.email,
                outcome=text,
            )
            record(tx, rejected, reason, agent_name=approver.email)
            follow_goal(tx, rejected)
            return rejected

        return await self._store.write(decide)

    def expire(self, tx: Tx) -> int:
        """End every action whose approval has run out, and return how many there were."""
        late = _late(tx)
        for action in late:
            expired = actions.update(tx, action.id, ActionState.EXPIRED, outcome="nobody approved it in time")
            record(tx, expired, "nobody approved it in time")
            follow_goal(tx, expired)
        return len(late)

    def has_expired(self, tx: Tx) -> bool:
        """Tell whether `expire` has something to do."""
        return bool(_late(tx))

    def withdraw(self, tx: Tx, action: Action, reason: str) -> None:
        """End an action that awaits approval because its goal was cancelled."""
        record(tx, actions.update(tx, action.id, ActionState.SUPERSEDED, outcome=reason), reason)


def _late(tx: Tx) -> list[Action]:
    return [action for action in actions.awaiting(tx) if action.expires_at is not None and action.expires_at <= tx.now]


def _check_awaits(action: Action) -> None:
    if action.state is not ActionState.AWAITING_APPROVAL:
        raise PreconditionFailed(
            f"action {action.id} is {action.state.value.replace('_', ' ')}, not waiting for an approval",
            reason="ACTION_NOT_AWAITING",
        )


def _check_decider(action: Action, approver: Principal, now: datetime) -> None:
    _check_awaits(action)
    if not approver.role.allows(Role.OPERATOR):
        raise PermissionDenied("approving needs the role operator", reason="ROLE_TOO_LOW")
    if approver.user_id == action.user_id:
        raise PermissionDenied("nobody approves their own request; ask another operator", reason="SELF_APPROVAL")
    if action.expires_at is not None and action.expires_at <= now:
        raise PreconditionFailed(
            f"the time to approve action {action.id} ran out at {action.expires_at:%H:%M UTC}; submit it again",
            reason="APPROVAL_EXPIRED",
        )


def _check_stranger(tx: Tx, action: Action, approver: Principal) -> None:
    """Whoever answered a goal's questions has shaped what is asked for, as its owner has."""
    if action.goal_id is not None and audit.has_done(tx, "goal.answered", approver.email, goal_id=action.goal_id):
        raise PermissionDenied(
            f"you answered the questions of goal {action.goal_id}, so this is your request too; ask another operator",
            reason="SELF_APPROVAL",
        )
