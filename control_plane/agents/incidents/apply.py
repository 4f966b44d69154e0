"""Carries out the steps about one node, in one transaction: what takes effect passes the governor."""

from collections.abc import Collection, Mapping, Sequence

import structlog

from control_plane.agents.incidents.observing import observe
from control_plane.agents.incidents.outcomes import (
    BLOCKED_SECONDS,
    Outcome,
    after_order,
    after_refusal,
    explain,
    held_back,
    idle,
    up_to,
)
from control_plane.agents.incidents.views import NAME, just_opened, load, load_many
from control_plane.fleet.incident_rules import decide
from control_plane.fleet.incident_steps import (
    Escalate,
    HealingPolicy,
    OpenIncident,
    OrderRepair,
    Release,
    Step,
    View,
    Wait,
)
from control_plane.fleet.ladder import asks
from control_plane.fleet.remembered import Fault, fault_of
from control_plane.governor import incidents as keeper
from control_plane.governor.governor import Governor
from control_plane.governor.ruling import Ruling
from control_plane.model.action import ActionState, Effect, Proposal, QuarantineNode, ReleaseNode, RepairNode
from control_plane.model.health import Condition
from control_plane.model.ids import ACTION, NodeId, new_id
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.memory import Memory
from control_plane.model.node import NodeHold
from control_plane.store import events, incidents
from control_plane.store.database import Tx

log = structlog.get_logger()

REMEMBERED = "remembered"
"""Kind of the entry that tells what memory has changed."""

_STEPS_MAX = 8
"""Steps about one node in one transaction; what is left comes with the next look."""


class Healer:
    """Applies steps on behalf of the healing agent."""

    def __init__(self, governor: Governor, policy: HealingPolicy, *, recalls: bool = False) -> None:
        self._governor = governor
        self._policy = policy
        self._recalls = recalls

    def look_at(self, tx: Tx, node_ids: Collection[NodeId]) -> dict[NodeId, tuple[bool, Outcome, Fault | None]]:
        """Return for each node what `look` returns; for one that cannot be looked at, that it is to be treated."""
        load_many(tx, node_ids, self._policy)
        found: dict[NodeId, tuple[bool, Outcome, Fault | None]] = {}
        for node_id in node_ids:
            try:
                found[node_id] = self.look(tx, node_id)
            except Exception as error:  # noqa: BLE001 - one node's trouble is not that of the others
                log.warning("incident.unclear", node_id=node_id, why=f"{type(error).__name__}: {error}")
                found[node_id] = True, Outcome(watched=True), None
        return found

    def treat_together(
        self, tx: Tx, node_ids: Sequence[NodeId], remembered: Mapping[NodeId, tuple[Memory, ...]]
    ) -> list[Outcome]:
        """Do for each node what `treat` does, one after the other; each sees what was done for those before it.

        What fails for one cannot be undone alone: the transaction is to be undone then, and each node treated alone.
        """
        load_many(tx, node_ids, self._policy)
        with tx.together():
            outcomes = [self._treat(tx, node_id, remembered.get(node_id)) for node_id in node_ids]
        newest = events.newest(tx)
        return [up_to(tx, node_id, one, newest) for node_id, one in zip(node_ids, outcomes, strict=True)]

    def take_out(self, tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, Fault | None]:
        """Have those of these nodes take no more jobs whose repairs would be ordered now; `treat` does all the rest.

        Returns for each the fault to ask memory about. What fails for one cannot be undone alone, as in
        `treat_together`.
        """
        load_many(tx, node_ids, self._policy)
        with tx.together():
            views = {node_id: self._opened(tx, node_id) for node_id in node_ids}
            ordered = [(view, decide(view, tx.now, self._policy)) for view in views.values() if view is not None]
            self._governor.take_out(
                tx,
                [
                    _proposal(view, _effect(view, view.incident, step), view.incident.diagnosis)
                    for view, step in ordered
                    if isinstance(step, OrderRepair) and view.incident is not None
                ],
            )
        faults = {view.node.id: fault_of(view.node, _asking(view)) for view, step in ordered if _asks_memory(step)}
        return {node_id: faults.get(node_id) for node_id in node_ids}

    def _opened(self, tx: Tx, node_id: NodeId) -> View | None:
        """Return the view of a node once its incident, if it is to have one, is open."""
        view = load(tx, node_id, self._policy)
        step = None if view is None else decide(view, tx.now, self._policy)
        if view is None or not isinstance(step, OpenIncident):
            return view
        observe(tx, view, step)
        return just_opened(tx, view, self._policy)

    def look(self, tx: Tx, node_id: NodeId) -> tuple[bool, Outcome, Fault | None]:
        """Tell, without writing, whether there is something to do about a node, and if not, when to look again.

        Where a repair may come next, the fault to ask memory about comes with it.
        """
        view = load(tx, node_id, self._policy)
        step = None if view is None else decide(view, tx.now, self._policy)
        if view is None or step is None:
            return False, idle(view, ()), None
        if isinstance(step, Wait):
            reason, outcome = step.reason, Outcome((), step.seconds, watched=True)
        else:
            reason, outcome = held_back(tx, view, step, ())
        told = view.incident is None or view.incident.status_reason == reason
        fault = fault_of(view.node, _asking(view)) if _asks_memory(step) else None
        return not (reason and told), outcome, fault

    def treat(self, tx: Tx, node_id: NodeId, remembered: tuple[Memory, ...] | None = None) -> Outcome:
        """Do what is to be done about a node now. `remembered` is None if memory was not asked about it."""
        load_many(tx, [node_id], self._policy)
        outcome = self._treat(tx, node_id, remembered)
        return up_to(tx, node_id, outcome, events.newest(tx))

    def _treat(self, tx: Tx, node_id: NodeId, remembered: tuple[Memory, ...] | None) -> Outcome:
        done: list[str] = []
        for _ in range(_STEPS_MAX):
            view = load(tx, node_id, self._policy, remembered or ())
            step = None if view is None else decide(view, tx.now, self._policy)
            if view is None or step is None:
                return idle(view, tuple(done))
            if isinstance(step, OrderRepair) and self._recalls and remembered is None:
                return Outcome(tuple(done), 0.0, watched=True)  # the next look asks memory first
            if isinstance(step, Wait):
                explain(tx, view.incident, step.reason)
                return Outcome(tuple(done), step.seconds, watched=True)
            if isinstance(step, OrderRepair | Release | Escalate):
                refused = self._govern(tx, view, step, done)
                if refused is not None:
                    return refused
                if isinstance(step, OrderRepair):
                    return after_order(tx, view, done)
            else:
                done.append(observe(tx, view, step))
        return Outcome(tuple(done), BLOCKED_SECONDS, watched=True)

    def _govern(self, tx: Tx, view: View, step: OrderRepair | Release | Escalate, done: list[str]) -> Outcome | None:
        """Take a step that takes effect; return what follows if the governor does not carry it out."""
        incident = view.incident
        reason, outcome = held_back(tx, view, step, tuple(done))
        if reason:
            # Proposing in vain would flood the books; the governor would say the same.
            explain(tx, incident, reason)
            return outcome
        if isinstance(step, Release):
            effect = ReleaseNode(view.node.id, step.reason, None if incident is None else incident.id)
            return self._propose(tx, view, effect, step.reason, done)
        if incident is None:
            raise TypeError(f"{step} without an incident of {view.node.name}")
        if isinstance(step, Escalate):
            return self._escalate(tx, view, incident, step, done)
        return self._order(tx, view, incident, step, done)

    def _order(self, tx: Tx, view: View, incident: Incident, step: OrderRepair, done: list[str]) -> Outcome | None:
        told = step.remembered
        if step.instead is not None:
            effect = _effect(view, incident, step)
            if self._governor.judge(tx, _proposal(view, effect, told)).ruling is Ruling.ALLOW:
                told = f"{told}: begins with {step.rung.words}"
            else:
                told = (
                    f"{told}: begins with {step.instead.rung.words} all the same, as {step.rung.words} is not allowed"
                )
                step = step.instead
        reasoning = f"{incident.diagnosis}; {told}" if told else incident.diagnosis
        refused = self._propose(tx, view, _effect(view, incident, step), reasoning, done)
        if told and refused is None:
            incidents.add_entry(tx, incident.id, REMEMBERED, told)
        if refused is not None and _is_out_in_vain(view, incident):
            self._governor.give_back(tx, view.node.id, incident.id, NAME)
        return refused

    def _escalate(self, tx: Tx, view: View, incident: Incident, step: Escalate, done: list[str]) -> Outcome | None:
        if view.node.hold is not NodeHold.QUARANTINED:
            refused = self._propose(
                tx, view, QuarantineNode(view.node.id, step.reason, incident.id), incident.diagnosis, done
            )
            if refused is not None:
                return refused
        keeper.close(tx, incident, IncidentState.ESCALATED, f"a person must act: {step.reason}")
        done.append(f"{incident.id} of {view.node.name} is escalated: {step.reason}")
        return None

    def _propose(self, tx: Tx, view: View, effect: Effect, reasoning: str, done: list[str]) -> Outcome | None:
        """Propose an effect; return what follows if it is not carried out."""
        action = self._governor.propose_in(tx, _proposal(view, effect, reasoning), fresh=True)
        if action.state is ActionState.DONE:
            done.append(action.outcome)
            return None
        return after_refusal(tx, view, action, done)


def _is_out_in_vain(view: View, incident: Incident) -> bool:
    """Tell whether a node was taken out of service for this incident by `take_out`, and nothing has come of it yet."""
    return view.node.hold is NodeHold.DRAINING and incident.id in view.node.status_reason and not incident.repairs


def _asks_memory(step: Step | None) -> bool:
    """Tell whether a repair may follow a step, so that memory is to be asked about its fault."""
    return isinstance(step, OpenIncident | OrderRepair)


def _asking(view: View) -> tuple[Condition, ...]:
    return tuple(one for one in view.conditions if asks(one))


def _effect(view: View, incident: Incident, step: OrderRepair) -> RepairNode:
    return RepairNode(
        node_id=view.node.id,
        rung=step.rung,
        reason=step.reason,
        gpu_uuids=step.gpu_uuids,
        service=step.service,
        process_ids=step.process_ids,
        incident_id=incident.id,
        condition_ids=step.condition_ids,
    )


def _proposal(view: View, effect: Effect, reasoning: str) -> Proposal:
    return Proposal(
        id=new_id(ACTION), effect=effect, proposer=NAME, reasoning=reasoning, is_person=False, node_id=view.node.id
    )
