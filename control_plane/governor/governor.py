"""The governor: validate → freeze → judge → reserve → approve if asked → check again → execute → audit.

Deciding and executing share one transaction, so two proposals can never spend the same money or take the same GPU.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from control_plane.errors import OrQuantaError, PreconditionFailed, ResourceExhausted
from control_plane.fleet.prices import PriceTable
from control_plane.governor import holds, repair_execution
from control_plane.governor.approvals import Approvals
from control_plane.governor.carrying import carry_out, ended
from control_plane.governor.defaults import JobDefaults, complete
from control_plane.governor.judging import Examined, Judgement, as_denial, examine
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy.model import PolicySet
from control_plane.governor.recording import denials, follow_goal, lines, record, told
from control_plane.governor.ruling import BLAST_RADIUS, Limits, Ruling
from control_plane.model.action import Action, ActionState, KillSwitch, LaunchJobs, Proposal, RepairNode
from control_plane.model.effects import effect_hash, effect_kind, effect_to_json
from control_plane.model.identity import Principal
from control_plane.model.ids import ActionId, IncidentId, NodeId
from control_plane.store import actions, audit, incidents, nodes, policy_sets
from control_plane.store.database import Store, Tx

NAME = "safety_governor"
_EXHAUSTED = frozenset({"USER_BUDGET", "GOAL_BUDGET", "GPU_LIMIT", "TEAM_QUOTA", BLAST_RADIUS})
_DRY_RUN = "dry run only, nothing was done; it would have been"
_DENIED_LINE = re.compile(rf"^{Ruling.DENY.value} \((?P<reason>[A-Z_]+)\): (?P<text>.*)$", re.DOTALL)


class Governor:
    """The one gate for every effect."""

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits,
        defaults: JobDefaults,
        prices: PriceTable,
        policies: PolicyBook | None = None,
    ) -> None:
        self._store = store
        self._limits = limits
        self._defaults = defaults
        self.prices = prices
        self.policies = policies or PolicyBook()
        # Whoever approves is told that nothing would be done.
        self.approvals = Approvals(store, judge=lambda tx, one: as_denial(self.judge(tx, one)), prices=prices)

    async def propose(self, proposal: Proposal) -> Action:
        """Decide on a proposal and, if it is allowed, carry it out. A repeated id returns the recorded action."""
        return await self._store.write(lambda tx: self.propose_in(tx, proposal))

    def propose_in(self, tx: Tx, proposal: Proposal, *, fresh: bool = False) -> Action:
        """Do the same inside a transaction that somebody has already. `fresh`: its id was made just now, at random."""
        recorded = None if fresh else actions.get(tx, proposal.id)
        if recorded is not None:
            return recorded
        if isinstance(proposal.effect, LaunchJobs):
            proposal = replace(proposal, effect=complete(proposal.effect, self._defaults))
        frozen = effect_to_json(proposal.effect)
        judgement = self._examine(tx, proposal, self.policies.current, frozen).judgement
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
            summary=told(tx, proposal.effect, judgement.estimate_usd),
            reasoning=proposal.reasoning,
            decision=lines(judgement.verdicts),
            hash=effect_hash(frozen),
            arguments_json=frozen,
            estimate_usd=judgement.estimate_usd,
            decided_by="",
            outcome="",
            created_at=tx.now,
            expires_at=None,
            finished_at=None,
            approval_need=judgement.need,
            policy_version=judgement.policy_version,
            run_id=proposal.run_id,
            tainted=proposal.tainted,
            undoes=proposal.undoes,
            is_person=proposal.is_person,
        )
        action = self._decide(tx, proposal, action, judgement)
        policy_sets.record_input(
            tx,
            action.id,
            policy_version=judgement.policy_version,
            ruling=judgement.file_ruling.name,
            input_json=judgement.input_json,
        )
        return action

    def _decide(self, tx: Tx, proposal: Proposal, action: Action, judgement: Judgement) -> Action:
        """Record an action, and carry it out if that is allowed."""
        if judgement.ruling is Ruling.REQUIRE_APPROVAL and not judgement.dry_run_only:
            return self.approvals.begin(tx, proposal, action, judgement)
        cost_impact = Decimal(0)
        if judgement.dry_run_only:
            action = ended(action, ActionState.DENIED, f"{_DRY_RUN}: {action.summary}", tx.now)
        elif judgement.ruling is Ruling.DENY:
            action = ended(action, ActionState.DENIED, denials(judgement.verdicts), tx.now)
        else:
            action, cost_impact = carry_out(tx, proposal, action, self.prices)
        actions.insert(tx, action)
        record(tx, action, proposal.reasoning, cost_impact)
        follow_goal(tx, action)
        return action

    def take_out(self, tx: Tx, proposals: Sequence[Proposal]) -> tuple[NodeId, ...]:
        """Have the nodes take no more jobs whose repairs may be carried out, before any of these is; return them.

        Each is judged as its repair will be, which is still to be proposed, and counts for those after it. One record
        tells of all of them. Where there are rules of files, none is taken out: they may look at how many are, and
        would see another fleet when the repair is proposed.
        """
        if self.policies.current.rules:
            return ()
        taken: list[NodeId] = []
        for proposal in proposals:
            effect = proposal.effect
            if isinstance(effect, RepairNode) and self._may_do(tx, proposal):
                node = nodes.resolve(tx, effect.node_id)
                repair_execution.take_out(tx, node, effect.rung, effect.reason, effect.incident_id)
                taken.append(node.id)
        if taken:
            audit.append(
                tx,
                agent_name=proposals[0].proposer,
                action="nodes.take_out",
                reasoning=f"{len(taken)} nodes need repairs at once: they take no more jobs, and then each is repaired",
                outcome="done",
                payload={"node_ids": taken},
            )
        return tuple(taken)

    def give_back(self, tx: Tx, node_id: NodeId, incident_id: IncidentId, proposer: str) -> None:
        """Have a node take jobs again that `take_out` has taken out, as its repair is not to be carried out now."""
        holds.release(tx, nodes.resolve(tx, node_id))
        incidents.add_entry(tx, incident_id, "released", "the node takes jobs again: its repair is not allowed now")
        audit.append(
            tx,
            agent_name=proposer,
            action="node.give_back",
            reasoning="its repair is not allowed now",
            outcome="done",
            node_id=node_id,
        )

    def judge(self, tx: Tx, proposal: Proposal) -> Judgement:
        """Return what every rule says about a proposal as things are now, as if nobody had approved it."""
        return self.examine(tx, proposal).judgement

    def _may_do(self, tx: Tx, proposal: Proposal) -> bool:
        """Tell whether a proposal would be carried out now; nothing is kept of why."""
        policies = self.policies.current
        found = examine(tx, proposal, limits=self._limits, prices=self.prices, policies=policies, kept=False)
        return found.judgement.ruling is Ruling.ALLOW

    def examine(self, tx: Tx, proposal: Proposal, policies: PolicySet | None = None) -> Examined:
        """Return the same rule by rule; by other policies than those in force, if they are given."""
        return self._examine(tx, proposal, policies or self.policies.current)

    def _examine(self, tx: Tx, proposal: Proposal, policies: PolicySet, frozen_json: str = "") -> Examined:
        return examine(
            tx, proposal, limits=self._limits, prices=self.prices, policies=policies, frozen_json=frozen_json
        )

    async def approve(self, action_id: ActionId, *, approver: Principal, hash: str, reason: str) -> Action:  # noqa: A002 - the field's own name
        """Approve exactly the action with this hash; see `Approvals.approve`."""
        return await self.approvals.approve(action_id, approver=approver, hash=hash, reason=reason)

    async def reject(self, action_id: ActionId, *, approver: Principal, reason: str) -> Action:
        """Reject an action that awaits approval; see `Approvals.reject`."""
        return await self.approvals.reject(action_id, approver=approver, reason=reason)

    def expire(self, tx: Tx) -> int:
        """End every action whose approval has run out, and return how many there were."""
        return self.approvals.expire(tx)

    def has_expired(self, tx: Tx) -> bool:
        """Tell whether `expire` has something to do."""
        return self.approvals.has_expired(tx)

    def withdraw(self, tx: Tx, action: Action, reason: str) -> None:
        """End an action that awaits approval because its goal was cancelled."""
        self.approvals.withdraw(tx, action, reason)

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


def denial_error(action: Action) -> OrQuantaError:
    """Return the error that tells a person why their action was denied or failed."""
    metadata = {"action_id": action.id}
    for line in action.decision:
        match = _DENIED_LINE.match(line)
        if match:
            reason, text = match["reason"], match["text"]
            kind = ResourceExhausted if reason in _EXHAUSTED else PreconditionFailed
            return kind(text, reason=reason, metadata=metadata)
    if action.outcome.startswith(_DRY_RUN):
        return PreconditionFailed(action.outcome, reason="DRY_RUN_ONLY", metadata=metadata)
    return PreconditionFailed(action.outcome or "the action was denied", reason="ACTION_FAILED", metadata=metadata)
