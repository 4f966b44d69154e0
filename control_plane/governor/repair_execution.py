"""Carries out what takes nodes out of service, repairs them and puts them back."""

from control_plane.errors import NotFound
from control_plane.fleet.ladder import InTheWay, in_the_way
from control_plane.governor import drains, hand_offs, holds, incidents, repairs
from control_plane.model.action import DrainNode, Proposal, QuarantineNode, ReleaseNode, RepairNode, UpdateCondition
from control_plane.model.health import ConditionOrder
from control_plane.model.ids import IncidentId
from control_plane.model.node import Node, NodeHold
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung
from control_plane.store import conditions, nodes
from control_plane.store import incidents as incident_store
from control_plane.store import repairs as repair_store
from control_plane.store.database import Tx


def execute(
    tx: Tx, proposal: Proposal, effect: DrainNode | RepairNode | QuarantineNode | ReleaseNode | UpdateCondition
) -> str:
    """Carry out an effect and return what it came to, for a person."""
    match effect:
        case DrainNode():
            return _drain(tx, proposal, effect)
        case RepairNode():
            return _repair(tx, proposal, effect)
        case QuarantineNode():
            return _quarantine(tx, proposal, effect)
        case ReleaseNode():
            return _release(tx, proposal, effect)
        case UpdateCondition():
            return _update_condition(tx, effect)


def _drain(tx: Tx, proposal: Proposal, effect: DrainNode) -> str:
    """Move every job of the node away."""
    # A person's drain is a cordon too: a repair that follows must not put the node back into service.
    node = nodes.update(tx, effect.node_id, cordoned=True) if proposal.is_person else nodes.resolve(tx, effect.node_id)
    holds.hold(tx, node, NodeHold.DRAINING, effect.reason)
    moved = drains.move_jobs(
        tx, node.id, gpu_uuids=(), reason=effect.reason, by=proposal.proposer, action_id=proposal.id
    )
    return f"{node.name} is being drained; {_jobs(len(moved))}"


def _repair(tx: Tx, proposal: Proposal, effect: RepairNode) -> str:
    """Order a repair; its host gets it once the jobs that are in the way are gone."""
    node = nodes.resolve(tx, effect.node_id)
    incident_id = effect.incident_id
    if not effect.dry_run and incident_id is None:
        incident_id = repairs.open_or_join(
            tx,
            node,
            requested_by=proposal.proposer if proposal.is_person else "",
            reason=effect.reason,
            action_id=proposal.id,
        )
    elif incident_id is None:
        incident_id = incident_store.open_ids(tx, [node.id]).get(node.id)
    ordered = Repair(
        id=repair_store.id_of(proposal.id),
        node_id=node.id,
        incident_id=incident_id,
        action_id=proposal.id,
        origin=RepairOrigin.CONTROL_PLANE,
        rung=effect.rung,
        state=RepairState.PENDING,
        reason=effect.reason,
        ordered_at=tx.now,
        gpu_uuids=effect.gpu_uuids,
        service=effect.service,
        process_ids=effect.process_ids,
        dry_run=effect.dry_run,
        condition_ids=effect.condition_ids,
    )
    repair_store.insert(tx, ordered)
    moved = 0
    if not effect.dry_run:
        moved = _clear_the_way(tx, node, ordered, by=proposal.proposer)
    if repairs.start_if_clear(tx, ordered):
        return f"{effect.rung.words} ordered on {node.name} ({ordered.id})"
    if not node.connected and not moved:
        return f"{effect.rung.words} on {node.name} ({ordered.id}) waits for its host, whose link is down"
    return f"{effect.rung.words} on {node.name} ({ordered.id}) waits; {_jobs(moved)}"


def _clear_the_way(tx: Tx, node: Node, ordered: Repair, *, by: str) -> int:
    """Take the node out of service and have the jobs move that are in the way of a repair."""
    take_out(tx, node, ordered.rung, ordered.reason, ordered.incident_id, action_id=ordered.action_id or "")
    scope = in_the_way(ordered.rung, ordered.service)
    if scope is InTheWay.NONE:
        return 0
    gpu_uuids = ordered.gpu_uuids if scope is InTheWay.ON_GPUS else ()
    moved = drains.move_jobs(
        tx, node.id, gpu_uuids=gpu_uuids, reason=ordered.reason, by=by, action_id=ordered.action_id or ""
    )
    if moved and ordered.incident_id is not None:
        incident_store.add_entry(tx, ordered.incident_id, "draining", f"{', '.join(moved)} move away")
        incident_store.update(tx, ordered.incident_id, status_reason=f"waits until {', '.join(moved)} moved away")
    return len(moved)


def take_out(
    tx: Tx, node: Node, rung: Rung, reason: str, incident_id: IncidentId | None, *, action_id: str = ""
) -> None:
    """Have a node take no more jobs because of a repair; `action_id`: the one that orders it, if there is one yet."""
    why = f"{rung.words}: {reason}"
    if node.hold is not NodeHold.QUARANTINED and (node.hold, node.status_reason) != (NodeHold.DRAINING, why):
        holds.hold(tx, node, NodeHold.DRAINING, why)
    if incident_id is not None:
        _note_cordoned(tx, incident_id, action_id=action_id)


def _note_cordoned(tx: Tx, incident_id: IncidentId, *, action_id: str) -> None:
    incident = incident_store.standing(tx, incident_id)
    if incident is None:
        raise NotFound(f"there is no incident {incident_id}", reason="INCIDENT_NOT_FOUND")
    if incident.cordoned_at is None and not incident.state.ended:
        incident_store.update(tx, incident_id, cordoned_at=tx.now)
        incident_store.add_entry(tx, incident_id, "cordoned", "the node takes no more jobs", action_id=action_id)


def _quarantine(tx: Tx, proposal: Proposal, effect: QuarantineNode) -> str:
    """Take the node out of service for good, move its jobs, and have its host write a hand-off report."""
    node = nodes.resolve(tx, effect.node_id)
    holds.hold(tx, node, NodeHold.QUARANTINED, effect.reason)
    moved = drains.move_jobs(
        tx, node.id, gpu_uuids=(), reason=effect.reason, by=proposal.proposer, action_id=proposal.id
    )
    incident_id = effect.incident_id or incident_store.open_ids(tx, [node.id]).get(node.id)
    if incident_id is not None:
        _note_cordoned(tx, incident_id, action_id=proposal.id)
        incident_store.add_entry(tx, incident_id, "quarantined", effect.reason, action_id=proposal.id)
    unfinished = repair_store.unfinished(tx, node.id)
    if unfinished is not None and unfinished.sent_at is None:
        repairs.withdraw(tx, unfinished, "superseded: its node was quarantined before it began")
        unfinished = None
    if unfinished is None:  # else it follows once that has ended
        hand_offs.order(tx, node.id, proposal.id, reason=effect.reason, incident_id=incident_id)
    return f"{node.name} is quarantined until a person releases it; {_jobs(len(moved))}"


def _release(tx: Tx, proposal: Proposal, effect: ReleaseNode) -> str:
    """Put the node back into service; a person who does so ends what is open about it."""
    node = nodes.update(tx, effect.node_id, cordoned=False) if proposal.is_person else nodes.resolve(tx, effect.node_id)
    handing_off = repair_store.unfinished(tx, node.id)
    if handing_off is not None and handing_off.rung is Rung.QUARANTINE:
        repairs.give_up(tx, handing_off, "the node was released before its hand-off report was done")
    if node.cordoned and not drains.occupants(tx, node.id):
        # A person has it empty, so it stays drained, and counts as out of service, until a person releases it.
        holds.hold(tx, node, NodeHold.CORDONED, effect.reason)
    else:
        holds.release(tx, node, effect.reason if node.cordoned else "")
    if proposal.is_person:
        incidents.close_for_release(tx, node.id, f"released by {proposal.proposer}: {effect.reason}")
    return f"{node.name} is back in service" + (", cordoned as before" if node.cordoned else "")


def _update_condition(tx: Tx, effect: UpdateCondition) -> str:
    """Tell the host what an operator says about one of its conditions."""
    said = ConditionOrder(effect.condition_id, effect.by, effect.clear, tx.now)
    conditions.order(tx, effect.node_id, said)
    incidents.follow_conditions(tx, effect.node_id)
    if effect.clear:
        return f"{effect.condition_id} is cleared as soon as its host hears of it"
    return f"{effect.condition_id} is acknowledged; it asks for no repair any more"


def _jobs(number: int) -> str:
    return "no job has to move" if number == 0 else f"{number} job{'s' if number > 1 else ''} move away"
