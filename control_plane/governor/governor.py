"""The governor: validate → freeze → judge → reserve → approve if asked → check again → execute → audit.

Deciding and executing share one transaction, so two proposals can never spend the same money or take the same GPU.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from control_plane.errors import OrQuantaError, PermissionDenied, PreconditionFailed, ResourceExhausted, Unavailable
from control_plane.fleet.prices import PriceTable
from control_plane.governor.defaults import JobDefaults, complete
from control_plane.governor.execution import execute
from control_plane.governor.facts import gather
from control_plane.governor.rules import BLAST_RADIUS, Limits, Ruling, Verdict, judge, ruling
from control_plane.governor.summary import summarize
from control_plane.model.action import Action, ActionState, KillSwitch, LaunchJobs, Proposal
from control_plane.model.effects import effect_hash, effect_kind, effect_to_json
from control_plane.model.goal import GoalState
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import ActionId
from control_plane.store import actions, audit, goals
from control_plane.store.database import Store, Tx

log = structlog.get_logger()

NAME = "safety_governor"
_APPROVAL_TTL = timedelta(minutes=30)
_EXHAUSTED = frozenset({"USER_BUDGET", "GOAL_BUDGET", "GPU_LIMIT", BLAST_RADIUS})
_DENIED_LINE = re.compile(rf"^{Ruling.DENY.value} \((?P<reason>[A-Z_]+)\): (?P<text>.*)$", re.DOTALL)


class Governor:
    """The one gate for every effect."""

    def __init__(self, store: Store, *, limits: Limits, defaults: JobDefaults, prices: PriceTable) -> None:
        self._store = store
        self._limits = limits
        self._defaults = defaults
        self.prices = prices

    async def propose(self, proposal: Proposal) -> Action:
        """Decide on a proposal and, if it is allowed, carry it out. A repeated id returns the recorded action."""
        return await self._store.write(lambda tx: self.propose_in(tx, proposal))

    def propose_in(self, tx: Tx, proposal: Proposal) -> Action:
        """Do the same inside a transaction that somebody has already."""
        recorded = actions.get(tx, proposal.id)
        if recorded is not None:
            return recorded
        if isinstance(proposal.effect, LaunchJobs):
            proposal = replace(proposal, effect=complete(proposal.effect, self._defaults))
        frozen = effect_to_json(proposal.effect)
        facts = gather(tx, proposal, approved=False, limits=self._limits, prices=self.prices)
        verdicts = judge(facts)
        action = Action(
            id=proposal.id,
            kind=effect_kind(proposal.effect),
            effect=proposal.effect,
            proposer=proposal.proposer,
            user_id=proposal.user_id,
            goal_id=proposal.goal_id,
            job_id=proposal.job_id,
            node_id=proposal.node_id,
            state=ActionState.PROPOSED,
            summary=summarize(proposal.effect, facts.estimate_usd),
            reasoning=proposal.reasoning,
            decision=_lines(verdicts),
            hash=effect_hash(frozen),
            arguments_json=frozen,
            estimate_usd=facts.estimate_usd,
            decided_by="",
            outcome="",
            created_at=tx.now,
            expires_at=None,
            finished_at=None,
        )
        match ruling(verdicts):
            case Ruling.DENY:
                action = _ended(action, ActionState.DENIED, _denials(verdicts), tx.now)
                actions.insert(tx, action)
                _record(tx, action, proposal.reasoning)
            case Ruling.REQUIRE_APPROVAL:
                waiting = replace(action, state=ActionState.AWAITING_APPROVAL, expires_at=tx.now + _APPROVAL_TTL)
                action = waiting
                actions.insert(tx, action)
                _record(tx, action, proposal.reasoning)
            case Ruling.ALLOW:
                action, cost_impact = self._carry_out(tx, proposal, action)
                actions.insert(tx, action)
                _record(tx, action, proposal.reasoning, cost_impact)
        _follow_goal(tx, action)
        return action

    def _carry_out(self, tx: Tx, proposal: Proposal, action: Action) -> tuple[Action, Decimal]:
        """Execute, and undo everything if that fails. Raises Unavailable when the database is away."""
        try:
            with tx.savepoint():
                outcome = execute(tx, proposal, self.prices)
        except Unavailable:
            raise
        except OrQuantaError as error:
            return _ended(action, ActionState.FAILED, str(error), tx.now), Decimal(0)
        except Exception as error:
            log.exception("action.failed", action_id=action.id, kind=action.kind)
            return _ended(action, ActionState.FAILED, f"internal error: {type(error).__name__}", tx.now), Decimal(0)
        return _ended(action, ActionState.DONE, outcome.text, tx.now), outcome.cost_impact_usd

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
        verdicts = judge(gather(tx, proposal, approved=True, limits=self._limits, prices=self.prices))
        lines = (*action.decision, f"approved by {approver.email}: {reason or 'no reason given'}", *_lines(verdicts))
        if ruling(verdicts) is not Ruling.ALLOW:
            action = actions.update(
                tx,
                action.id,
                ActionState.DENIED,
                decision=lines,
                decided_by=approver.email,
                outcome=_denials(verdicts),
            )
            cost_impact = Decimal(0)
        else:
            actions.update(tx, action.id, ActionState.APPROVED, decision=lines, decided_by=approver.email)
            actions.update(tx, action.id, ActionState.EXECUTING)
            ended, cost_impact = self._carry_out(tx, proposal, action)
            action = actions.update(tx, action.id, ended.state, outcome=ended.outcome)
        _record(tx, action, reason, cost_impact, agent_name=approver.email)
        _follow_goal(tx, action)
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
            _record(tx, rejected, reason, agent_name=approver.email)
            _follow_goal(tx, rejected)
            return rejected

        return await self._store.write(decide)

    def expire(self, tx: Tx) -> int:
        """End every action whose approval has run out, and return how many there were."""
        late = _late(tx)
        for action in late:
            expired = actions.update(tx, action.id, ActionState.EXPIRED, outcome="nobody approved it in time")
            _record(tx, expired, "nobody approved it in time")
            _follow_goal(tx, expired)
        return len(late)

    def has_expired(self, tx: Tx) -> bool:
        """Tell whether `expire` has something to do."""
        return bool(_late(tx))

    def withdraw(self, tx: Tx, action: Action, reason: str) -> None:
        """End an action that awaits approval because its goal was cancelled."""
        _record(tx, actions.update(tx, action.id, ActionState.SUPERSEDED, outcome=reason), reason)

    async def set_kill_switch(self, *, engaged: bool, principal: Principal, reason: str) -> KillSwitch:
        """Stop all effects at once, or release them."""

        def change(tx: Tx) -> KillSwitch:
            if actions.kill_switch(tx).engaged == engaged:
                return actions.kill_switch(tx)
            audit.append(
                tx,
                agent_name=principal.email,
                action="kill_switch.engaged" if engaged else "kill_switch.released",
                reasoning=reason,
                outcome="done",
                user_id=principal.user_id,
            )
            return actions.set_kill_switch(tx, engaged=engaged, changed_by=principal.email, reason=reason)

        return await self._store.write(change)


def _late(tx: Tx) -> list[Action]:
    return [action for action in actions.awaiting(tx) if action.expires_at is not None and action.expires_at <= tx.now]


def denial_error(action: Action) -> OrQuantaError:
    """Return the error that tells a person why their action was denied or failed."""
    metadata = {"action_id": action.id}
    for line in action.decision:
        match = _DENIED_LINE.match(line)
        if match:
            reason, text = match["reason"], match["text"]
            kind = ResourceExhausted if reason in _EXHAUSTED else PreconditionFailed
            return kind(text, reason=reason, metadata=metadata)
    return PreconditionFailed(action.outcome or "the action was denied", reason="ACTION_FAILED", metadata=metadata)


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


_GOAL_STATES: Mapping[ActionState, GoalState] = {
    ActionState.DONE: GoalState.RUNNING,
    ActionState.AWAITING_APPROVAL: GoalState.AWAITING_APPROVAL,
    ActionState.DENIED: GoalState.REFUSED,
    ActionState.REJECTED: GoalState.REFUSED,
    ActionState.EXPIRED: GoalState.FAILED,
    ActionState.FAILED: GoalState.FAILED,
}


def _follow_goal(tx: Tx, action: Action) -> None:
    """Let a goal follow what was decided about launching its jobs."""
    if not isinstance(action.effect, LaunchJobs) or action.goal_id is None:
        return
    if action.state is ActionState.DONE:
        reason = ""
    elif action.state is ActionState.AWAITING_APPROVAL:
        reason = f"{action.id} needs approval: orquanta action approve {action.id}"
    else:
        reason = action.outcome
    goals.update(tx, action.goal_id, state=_GOAL_STATES[action.state], status_reason=reason)


def _ended(action: Action, state: ActionState, outcome: str, now: datetime) -> Action:
    return replace(action, state=state, outcome=outcome, finished_at=now)


def _lines(verdicts: tuple[Verdict, ...]) -> tuple[str, ...]:
    return tuple(verdict.line() for verdict in verdicts)


def _denials(verdicts: tuple[Verdict, ...]) -> str:
    return "; ".join(verdict.text for verdict in verdicts if verdict.ruling is Ruling.DENY)


def _record(
    tx: Tx, action: Action, reasoning: str, cost_impact_usd: Decimal = Decimal(0), *, agent_name: str = ""
) -> None:
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
        },
        cost_impact_usd=cost_impact_usd,
        action_id=action.id,
        goal_id=action.goal_id or "",
        job_id=action.job_id or "",
        node_id=action.node_id or "",
        user_id=action.user_id or "",
    )
