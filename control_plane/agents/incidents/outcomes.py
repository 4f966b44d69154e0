"""What follows from a step about a node: when to look at it again, and why it waits."""

from dataclasses import dataclass, replace

from control_plane.fleet.bounds import exceeded
from control_plane.fleet.incident_steps import Escalate, OrderRepair, Release, Step, View
from control_plane.fleet.ladder import ANSWER_SECONDS
from control_plane.model.action import Action, ActionState
from control_plane.model.ids import NodeId
from control_plane.model.incident import Incident
from control_plane.model.node import NodeHold
from control_plane.store import bounds, incidents
from control_plane.store import repairs as repair_store
from control_plane.store.database import Tx

BLOCKED_SECONDS = 1.0
_REFUSED_SECONDS = 60.0
"""After a denial that was not foreseen: each is on record for good, so it is not asked for often."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about a node.

    `seconds`: look again then at the latest, None if only a change can matter. `watched`: something is open about it.
    `blocked`: it waits for others to be back in service. `seen`: nothing that is told by an event up to this one is a
    reason to look again, 0 if any is.
    """

    done: tuple[str, ...] = ()
    seconds: float | None = None
    watched: bool = False
    blocked: bool = False
    seen: int = 0


def after_order(tx: Tx, view: View, done: list[str]) -> Outcome:
    """Return what follows an order: what its host says of it; or, if it was not given to it, why, or the next step."""
    given = repair_store.is_given(tx, view.node.id)
    return Outcome(tuple(done), ANSWER_SECONDS if given else BLOCKED_SECONDS, watched=True)


def up_to(tx: Tx, node_id: NodeId, outcome: Outcome, newest: int) -> Outcome:
    """Say of an order that goes on that what this transaction tells of it is known."""
    goes_on = outcome.seconds == ANSWER_SECONDS and repair_store.is_unfinished(tx, node_id)
    return replace(outcome, seen=newest) if goes_on else outcome


def idle(view: View | None, done: tuple[str, ...]) -> Outcome:
    """Return what follows where there is nothing to do: whether something is open about it all the same."""
    watched = view is not None and (view.incident is not None or view.node.hold is not None)
    return Outcome(done, None, watched=watched)


def after_refusal(tx: Tx, view: View, action: Action, done: list[str]) -> Outcome:
    """Return what follows a proposal that was not carried out, and let the incident tell why."""
    if action.state is ActionState.AWAITING_APPROVAL:
        explain(tx, view.incident, f"{action.id} needs approval: orquanta action approve {action.id}")
        return Outcome(tuple(done), None, watched=True)
    explain(tx, view.incident, f"waits: {action.outcome}")
    return Outcome(tuple(done), _REFUSED_SECONDS, watched=True)


def held_back(tx: Tx, view: View, step: Step, done: tuple[str, ...]) -> tuple[str, Outcome]:
    """Return why a step that takes effect has to wait, or nothing, and what follows from it."""
    if isinstance(step, Escalate) and view.node.hold is NodeHold.QUARANTINED:
        return "", Outcome(done, watched=True)
    if view.stopped and isinstance(step, OrderRepair | Release | Escalate):
        return "waits: all effects are stopped", Outcome(done, None, watched=True)
    if isinstance(step, OrderRepair | Escalate):
        return _too_many(tx, view), Outcome(done, BLOCKED_SECONDS, watched=True, blocked=True)
    return "", Outcome(done, watched=True)


def _too_many(tx: Tx, view: View) -> str:
    if bounds.is_out(tx, view.node.id):
        return ""
    text = exceeded(bounds.levels(tx, view.node.id), bounds.load(tx))
    return f"waits: {text}" if text else ""


def explain(tx: Tx, incident: Incident | None, reason: str) -> None:
    """Let the incident, if there is one, tell what it waits for."""
    if incident is not None and incident.status_reason != reason:
        incidents.update(tx, incident.id, status_reason=reason)
