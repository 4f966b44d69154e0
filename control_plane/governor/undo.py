"""Undo: the effect that takes back what an action did, where there is one, and whether it can still be taken back.

`inverse` and `obstacle` are pure. What is undone must still be as the action left it: what others did since is not
undone with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from control_plane.errors import PreconditionFailed
from control_plane.model.action import (
    Action,
    ActionState,
    CordonNode,
    DrainNode,
    Effect,
    LaunchJobs,
    PlaceJob,
    PreemptJob,
    Proposal,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    RequeueJob,
    RevokeNode,
    StopJob,
    UncordonNode,
    UpdateCondition,
)
from control_plane.model.effects import effect_kind, effect_to_json
from control_plane.model.job import Job, JobState
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.model.repair import RepairState, Rung
from control_plane.store import actions, jobs, nodes, repairs
from control_plane.store.database import Tx

_DRAINED: Final = frozenset({NodeHold.DRAINING, NodeHold.CORDONED})
_NO_UNDO: Final[Mapping[type, str]] = {
    PlaceJob: "a placement is not undone; cancel the job with: orquanta job cancel",
    StopJob: "what a stopped job did not finish is lost; submit it again with: orquanta job submit",
    RequeueJob: "an attempt that was given up is not taken up again; its job is tried again by itself",
    PreemptJob: "an attempt that made way is not taken up again; its job is queued, and starts when there is room",
    RevokeNode: "a revoked host's credentials stay revoked; let it join again with: orquanta node token create",
    RepairNode: "a repair has changed its host and cannot be taken back",
    ReleaseNode: "what kept the node out of service is over; use orquanta node drain, quarantine or cordon",
    UpdateCondition: "the host was told already; a condition that comes back asks for a repair again",
}
SERVICE_KINDS: Final = frozenset(
    {"cordon_node", "uncordon_node", "revoke_node", "drain_node", "repair_node", "quarantine_node", "release_node"}
)
"""Kinds of action that say whether a node is in service."""


@dataclass(frozen=True, slots=True)
class NoUndo:
    """Why an action cannot be undone: a stable reason and a sentence that says what to do instead."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Situation:
    """How what an action was about stands now.

    `later` are summaries of what was done since that says whether its node is in service; `verified` says that a
    verification of the node has succeeded since.
    """

    node: Node | None = None
    job: Job | None = None
    later: tuple[str, ...] = ()
    verified: bool = False


def inverse(action: Action, reason: str) -> Effect | NoUndo:
    """Return the effect that takes back what a recorded action did."""
    effect = action.effect
    match effect:
        case CordonNode():
            return UncordonNode(effect.node_id, reason)
        case UncordonNode():
            return CordonNode(effect.node_id, reason)
        case DrainNode() | QuarantineNode():
            return ReleaseNode(effect.node_id, reason)
        case LaunchJobs() if len(effect.jobs) == 1:
            return StopJob(effect.jobs[0].id, reason)
        case LaunchJobs():
            how = f"orquanta goal cancel {effect.goal_id}" if effect.goal_id else "orquanta job cancel"
            return NoUndo("NO_UNDO", f"it launched {len(effect.jobs)} jobs; cancel them with: {how}")
        case _:
            return NoUndo("NO_UNDO", f"{effect_kind(effect)} has no undo: {_NO_UNDO[type(effect)]}")


def obstacle(action: Action, now: Situation) -> NoUndo | None:
    """Return why an action that has an inverse cannot be undone as things are now, or None."""
    if action.state is ActionState.UNDONE:
        return NoUndo("ALREADY_UNDONE", f"{action.id} was undone already by {action.undone_by}")
    if action.state is not ActionState.DONE:
        return NoUndo("ACTION_NOT_DONE", f"{action.id} is {action.state.value.replace('_', ' ')}, not done")
    if isinstance(action.effect, LaunchJobs):
        return _of_launch(now)
    if now.later:
        return NoUndo("CHANGED_SINCE", f"since then somebody else has acted on the node: {'; '.join(now.later)}")
    return _of_node(action, now)


def _of_launch(now: Situation) -> NoUndo | None:
    job = now.job
    if job is None:
        return NoUndo("CHANGED_SINCE", "the job is not there any more")
    if job.state is JobState.QUEUED and job.epoch == 0:
        return None
    if job.state.ended:
        return NoUndo("CHANGED_SINCE", f"job {job.id} has {job.state.value} already")
    return NoUndo("JOB_STARTED", f"job {job.id} has been started; stop it with: orquanta job cancel {job.id}")


def _of_node(action: Action, now: Situation) -> NoUndo | None:
    node = now.node
    if node is None or node.state is NodeState.REVOKED:
        return NoUndo("CHANGED_SINCE", "the node is not in the fleet any more")
    match action.effect:
        case CordonNode():
            as_left = node.cordoned and node.hold is None
        case UncordonNode():
            as_left = not node.cordoned and node.hold is None
        case DrainNode():
            # A person's drain is a cordon too; an agent's leaves the cordon to people.
            as_left = node.hold in _DRAINED and node.cordoned == action.is_person
        case QuarantineNode():
            as_left = node.hold is NodeHold.QUARANTINED
        case _:
            as_left = False
    if not as_left:
        return NoUndo("CHANGED_SINCE", f"node {node.name} is not as the action left it: it is {_how(node)}")
    if isinstance(action.effect, QuarantineNode) and not now.verified:
        return NoUndo(
            "NOT_VERIFIED",
            f"node {node.name} has not passed a verification since it was quarantined; "
            f"verify it with: orquanta node verify {node.name}",
        )
    return None


def _how(node: Node) -> str:
    held = f"held ({node.hold.value})" if node.hold else "not held"
    return f"{'cordoned' if node.cordoned else 'not cordoned'} and {held}"


def situation(tx: Tx, action: Action) -> Situation:
    """Return how what an action was about stands now."""
    effect = action.effect
    if isinstance(effect, LaunchJobs):
        return Situation(job=jobs.get(tx, effect.jobs[0].id) if len(effect.jobs) == 1 else None)
    if not isinstance(effect, CordonNode | UncordonNode | DrainNode | QuarantineNode):
        return Situation()
    since = action.finished_at or action.created_at
    later = actions.later_of_node(tx, effect.node_id, since, SERVICE_KINDS)
    verified = any(
        repair.rung is Rung.VERIFY and repair.state is RepairState.SUCCEEDED
        for repair in repairs.since(tx, effect.node_id, since)
    )
    # A verification keeps the node as it is.
    others = tuple(
        other.summary
        for other in later
        if other.id != action.id and not (isinstance(other.effect, RepairNode) and _keeps(other.effect))
    )
    return Situation(node=nodes.get(tx, effect.node_id), later=others, verified=verified)


def _keeps(effect: RepairNode) -> bool:
    return effect.dry_run or effect.rung is Rung.VERIFY


def undo_effect(tx: Tx, action: Action, reason: str) -> Effect:
    """Return the effect that takes back what an action did, if that is possible now.

    Raises PreconditionFailed: NO_UNDO, ACTION_NOT_DONE, ALREADY_UNDONE, UNDO_PENDING, CHANGED_SINCE, JOB_STARTED,
    NOT_VERIFIED.
    """
    effect = inverse(action, reason)
    fault = effect if isinstance(effect, NoUndo) else obstacle(action, situation(tx, action))
    if isinstance(fault, NoUndo) or isinstance(effect, NoUndo):
        assert fault is not None
        raise PreconditionFailed(fault.text, reason=fault.reason, metadata={"action_id": action.id})
    pending = actions.undoing(tx, action.id)
    if pending is not None:
        raise PreconditionFailed(
            f"{pending.id} is to undo it and waits for an approval: orquanta action approve {pending.id}",
            reason="UNDO_PENDING",
        )
    return effect


def check_undo(tx: Tx, proposal: Proposal) -> None:
    """Look again whether a proposal takes back exactly what it says it undoes. Raises PreconditionFailed, NotFound."""
    assert proposal.undoes is not None
    first = actions.require(tx, proposal.undoes)
    effect = inverse(first, getattr(proposal.effect, "reason", ""))
    fault = obstacle(first, situation(tx, first))
    if fault is not None:
        raise PreconditionFailed(fault.text, reason=fault.reason)
    if isinstance(effect, NoUndo) or effect_to_json(effect) != effect_to_json(proposal.effect):
        raise PreconditionFailed(f"{proposal.id} does not undo {first.id}", reason="NO_UNDO")
