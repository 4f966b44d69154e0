"""Approvals: people's yes or no to an action that waits, and what becomes of it if nobody says either.

An approval and what follows from it share one transaction: a crash leaves both or neither. Everything that an approval
rests on is looked at again when the action is carried out.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from control_plane.errors import OrQuantaError, PermissionDenied, PreconditionFailed
from control_plane.fleet.prices import PriceTable
from control_plane.governor import grants
from control_plane.governor.carrying import carry_out
from control_plane.governor.judging import Judge, Judgement
from control_plane.governor.needs import DEFAULT_NEED, who_may
from control_plane.governor.recording import denials, follow_goal, lines, record, told
from control_plane.governor.rules import Ruling
from control_plane.governor.standing import (
    check_approver,
    check_awaits,
    check_frozen,
    check_person,
    has_risen,
    standing,
)
from control_plane.model.action import Action, ActionState, Proposal
from control_plane.model.approval import Approval, ApprovalNeed
from control_plane.model.effects import effect_hash
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import ActionId
from control_plane.model.money import format_usd
from control_plane.store import actions, approvals
from control_plane.store.database import Store, Tx


@dataclass(frozen=True, slots=True)
class Decided:
    """The action after a person's decision; with `error`, the decision did not count, though the action was changed."""

    action: Action
    error: OrQuantaError | None = None


class Approvals:
    """Decides on actions that wait for people."""

    def __init__(self, store: Store, *, judge: Judge, prices: PriceTable) -> None:
        self._store = store
        self._judge = judge
        self._prices = prices

    def begin(self, tx: Tx, proposal: Proposal, action: Action, judgement: Judgement) -> Action:
        """Record an action that needs approval, and carry it out if grants cover all that it needs."""
        need = judgement.need or DEFAULT_NEED
        waiting = replace(
            action,
            state=ActionState.AWAITING_APPROVAL,
            approval_need=need,
            expires_at=tx.now + timedelta(seconds=need.ttl_seconds),
        )
        actions.insert(tx, waiting)
        action = self._go_on(tx, waiting, proposal, judgement, decision=waiting.decision)
        if action.state is ActionState.AWAITING_APPROVAL:
            record(tx, action, proposal.reasoning)
            follow_goal(tx, action)
        return action

    async def approve(self, action_id: ActionId, *, approver: Principal, hash: str, reason: str) -> Action:  # noqa: A002 - the field's own name
        """Approve exactly the action with this hash, judge it again as things are now, and carry it out if enough have.

        Raises:
            NotFound: there is no such action.
            PermissionDenied: AGENT_CREDENTIAL, ACCOUNT_DISABLED, ROLE_TOO_LOW, SELF_APPROVAL, NOT_AN_APPROVER.
            PreconditionFailed: ACTION_NOT_AWAITING, APPROVAL_EXPIRED, ACTION_CHANGED, ALREADY_APPROVED,
                ESTIMATE_CHANGED.
        """
        decided = await self._store.write(lambda tx: self.approve_in(tx, action_id, approver, hash, reason))
        if decided.error is not None:  # what it costs by now is recorded, and only then is the approval refused
            raise decided.error
        return decided.action

    def approve_in(self, tx: Tx, action_id: ActionId, approver: Principal, approved_hash: str, reason: str) -> Decided:
        """Do the same inside a transaction that somebody has already."""
        action = actions.require(tx, action_id)
        own = [given for given in action.approvals if given.user_id == approver.user_id and given.grant_id is None]
        if own and own[0].hash == approved_hash and action.state in (ActionState.DONE, ActionState.FAILED):
            return Decided(action)
        check_person(approver)
        check_awaits(action, tx.now)
        account = check_approver(tx, action, approver)
        check_frozen(action, approved_hash)
        if own:
            raise PreconditionFailed(
                f"you have approved {action.id} already; {_missing(action)} must approve it too",
                reason="ALREADY_APPROVED",
            )
        proposal = proposal_of(action)
        judgement = self._judge(tx, proposal)
        if judgement.ruling is not Ruling.DENY and has_risen(judgement.estimate_usd, action.estimate_usd):
            return self._ask_again(tx, action, judgement)
        given = Approval(
            user_id=account.id,
            approver=account.email,
            hash=approved_hash,
            policy_version=judgement.policy_version,
            estimate_usd=action.estimate_usd,
            reason=reason,
            approved_at=tx.now,
        )
        approvals.put(tx, action.id, given)
        action = replace(action, approvals=(*action.approvals, given))
        decision = (*action.decision, f"approved by {account.email}: {reason or 'no reason given'}")
        after = self._go_on(tx, action, proposal, judgement, decision=decision, by=account.email, reason=reason)
        if after.state is ActionState.AWAITING_APPROVAL:
            record(tx, after, reason, agent_name=account.email)
        return Decided(after)

    def _ask_again(self, tx: Tx, action: Action, judgement: Judgement) -> Decided:
        """Let no approval count that was given for much less than it may cost by now."""
        shown = action.estimate_usd
        after = self._wait_on(tx, action, judgement, decision=action.decision)
        record(tx, after, "its estimate has risen")
        return Decided(
            after,
            PreconditionFailed(
                f"action {action.id} may cost {format_usd(judgement.estimate_usd)} by now, more than 10 % above the "
                f"{format_usd(shown)} that was shown; look at it again with: orquanta action show {action.id}",
                reason="ESTIMATE_CHANGED",
            ),
        )

    def _go_on(
        self,
        tx: Tx,
        action: Action,
        proposal: Proposal,
        judgement: Judgement,
        *,
        decision: tuple[str, ...],
        by: str = "",
        reason: str = "",
    ) -> Action:
        """Carry a recorded action out if as many as it needs by now have approved it; else let it wait on."""
        if judgement.ruling is Ruling.DENY:
            denied = actions.update(
                tx,
                action.id,
                ActionState.DENIED,
                decision=(*decision, *lines(judgement.verdicts)),
                decided_by=by,
                outcome=denials(judgement.verdicts),
            )
            record(tx, denied, reason, agent_name=by)
            follow_goal(tx, denied)
            return denied
        need = judgement.need if judgement.ruling is Ruling.REQUIRE_APPROVAL else None
        if need is not None:
            counted, _ = standing(tx, action, need, judgement.estimate_usd)
            givers = [approval.user_id for approval in counted]
            covering = grants.covering(tx, action, need, judgement.estimate_usd, beside=givers)
            if len(counted) + len(covering) < need.count:
                return self._wait_on(tx, action, judgement, decision=decision)
            for grant in covering[: max(need.count - len(counted), 0)]:
                used = grants.use(tx, action, grant, judgement.estimate_usd, judgement.policy_version)
                approvals.put(tx, action.id, used)
                counted = (*counted, used)
                decision = (*decision, f"approved beforehand by {grant.granted_by} ({grant.id}): {grant.reason}")
            by = ", ".join(approval.approver for approval in counted)
        return self._execute(tx, action, proposal, judgement, decision=decision, by=by, reason=reason)

    def _wait_on(self, tx: Tx, action: Action, judgement: Judgement, *, decision: tuple[str, ...]) -> Action:
        """Let an action wait for as many as it needs by now, and say which approvals do not count any more."""
        need = judgement.need or action.approval_need or DEFAULT_NEED
        _, voids = standing(tx, action, need, judgement.estimate_usd)
        for void in voids:
            approvals.void(tx, action.id, void.approval.user_id, void.why)
            decision = (*decision, f"the approval of {void.approval.approver} counts no more: {void.why}")
        if action.state is ActionState.APPROVED:
            actions.update(tx, action.id, ActionState.AWAITING_APPROVAL)
        said = tuple(line for line in lines(judgement.verdicts) if line not in decision)
        return actions.ask(
            tx,
            action.id,
            need,
            decision=(*decision, *said),
            policy_version=judgement.policy_version,
            estimate_usd=judgement.estimate_usd,
            summary=told(tx, action.effect, judgement.estimate_usd),
        )

    def _execute(
        self,
        tx: Tx,
        action: Action,
        proposal: Proposal,
        judgement: Judgement,
        *,
        decision: tuple[str, ...],
        by: str,
        reason: str,
    ) -> Action:
        if action.state is ActionState.AWAITING_APPROVAL:
            decision = (*decision, *lines(judgement.verdicts))
            actions.update(tx, action.id, ActionState.APPROVED, decision=decision, decided_by=by)
        if action.state is not ActionState.EXECUTING:
            actions.update(tx, action.id, ActionState.EXECUTING)
        ended, cost_impact = carry_out(tx, proposal, action, self._prices)
        done = actions.update(tx, action.id, ended.state, outcome=ended.outcome)
        record(tx, done, reason, cost_impact, agent_name=by)
        follow_goal(tx, done)
        return done

    async def reject(self, action_id: ActionId, *, approver: Principal, reason: str) -> Action:
        """Reject an action that awaits approval; its requester may too.

        Raises NotFound, PermissionDenied (AGENT_CREDENTIAL, ROLE_TOO_LOW), PreconditionFailed (ACTION_NOT_AWAITING,
        APPROVAL_EXPIRED).
        """
        return await self._store.write(lambda tx: self.reject_in(tx, action_id, approver, reason))

    def reject_in(self, tx: Tx, action_id: ActionId, approver: Principal, reason: str) -> Action:
        """Do the same inside a transaction that somebody has already."""
        action = actions.require(tx, action_id)
        if action.decided_by == approver.email and action.state is ActionState.REJECTED:
            return action
        check_person(approver)
        if action.user_id != approver.user_id and not approver.role.allows(Role.OPERATOR):
            raise PermissionDenied("rejecting needs the role operator", reason="ROLE_TOO_LOW")
        check_awaits(action, tx.now)
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

    def expire(self, tx: Tx) -> int:
        """End every action whose approval has run out, and return how many there were."""
        late = _late(tx)
        for action in late:
            self._end_late(tx, action)
        return len(late)

    def _end_late(self, tx: Tx, action: Action) -> None:
        outcome = "nobody approved it in time"
        if action.approvals:
            outcome = f"{len(action.approvals)} of {_count(action)} people approved it in time"
        expired = actions.update(tx, action.id, ActionState.EXPIRED, outcome=outcome)
        record(tx, expired, outcome)
        follow_goal(tx, expired)

    def has_expired(self, tx: Tx) -> bool:
        """Tell whether `expire` has something to do."""
        return bool(_late(tx))

    def resume(self, tx: Tx) -> int:
        """Carry out what was approved and never was, and return how many there were.

        Approval and execution share a transaction, so there is nothing unless a control plane of another make, or the
        restore of a backup, left it. What it did is not there either, so it is done once.
        """
        left = _left(tx)
        for action in left:
            self._resume(tx, action)
        return len(left)

    def _resume(self, tx: Tx, action: Action) -> None:
        if action.state is ActionState.APPROVED and action.expires_at is not None and action.expires_at <= tx.now:
            self._end_late(tx, action)
            return
        if effect_hash(action.arguments_json) != action.hash:
            self._refuse_changed(tx, action)
            return
        proposal = proposal_of(action)
        if action.state is ActionState.EXECUTING:  # everything was checked when it began
            judgement = Judgement((), action.estimate_usd)
        else:
            judgement = self._judge(tx, proposal)
        self._go_on(tx, action, proposal, judgement, decision=action.decision, by=action.decided_by)

    def _refuse_changed(self, tx: Tx, action: Action) -> None:
        outcome = "what is stored is not what was approved"
        if action.state is ActionState.EXECUTING:
            ended = actions.update(tx, action.id, ActionState.FAILED, outcome=outcome)
        else:
            ended = actions.update(tx, action.id, ActionState.DENIED, outcome=outcome)
        record(tx, ended, outcome)
        follow_goal(tx, ended)

    def has_left(self, tx: Tx) -> bool:
        """Tell whether `resume` has something to do."""
        return bool(_left(tx))

    def withdraw(self, tx: Tx, action: Action, reason: str) -> None:
        """End an action that awaits approval because its goal was cancelled."""
        record(tx, actions.update(tx, action.id, ActionState.SUPERSEDED, outcome=reason), reason)


def proposal_of(action: Action) -> Proposal:
    """Return the proposal that an action was made of."""
    return Proposal(
        id=action.id,
        effect=action.effect,
        proposer=action.proposer,
        reasoning=action.reasoning,
        is_person=action.is_person,
        user_id=action.user_id,
        goal_id=action.goal_id,
        job_id=action.job_id,
        node_id=action.node_id,
        run_id=action.run_id,
        tainted=action.tainted,
        undoes=action.undoes,
    )


def _late(tx: Tx) -> list[Action]:
    return [action for action in actions.awaiting(tx) if action.expires_at is not None and action.expires_at <= tx.now]


def _left(tx: Tx) -> tuple[Action, ...]:
    return (*actions.in_state(tx, ActionState.APPROVED), *actions.in_state(tx, ActionState.EXECUTING))


def _count(action: Action) -> int:
    return (action.approval_need or DEFAULT_NEED).count


def _missing(action: Action) -> str:
    need: ApprovalNeed = action.approval_need or DEFAULT_NEED
    return f"{max(need.count - len(action.approvals), 1)} more ({who_may(need)})"
