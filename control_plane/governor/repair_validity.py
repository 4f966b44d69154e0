"""Whether a drain, a repair, a quarantine or a release can be carried out in the present state of its node."""

import re
from typing import Final

from control_plane.fleet.ladder import GPUS_MAX
from control_plane.model.action import DrainNode, QuarantineNode, ReleaseNode, RepairNode, UpdateCondition
from control_plane.model.ids import NodeId
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.model.repair import Rung
from control_plane.store import conditions, incidents, nodes, repairs
from control_plane.store.database import Tx
from control_plane.store.incidents import Parts

Invalid = tuple[str, str] | None
"""Reason code and text of what stands in the way, or None."""

_SERVICE: Final = re.compile("[A-Za-z0-9@_.-]{1,100}")
_PROCESSES_MAX: Final = 16
_ORDERED: Final = frozenset(Rung) - {Rung.QUARANTINE}


def node_invalid(tx: Tx, node_id: NodeId) -> Invalid:
    """Return why nothing can be done with a node at all, or None."""
    node = nodes.get(tx, node_id)
    if node is None:
        return "NODE_UNKNOWN", f"there is no node {node_id}"
    if node.state is NodeState.REVOKED:
        return "NODE_REVOKED", f"node {node.name} is revoked"
    return None


def invalid(tx: Tx, effect: DrainNode | RepairNode | QuarantineNode | ReleaseNode | UpdateCondition) -> Invalid:
    """Return what stands in the way of an effect, or None."""
    found = node_invalid(tx, effect.node_id)
    if found is not None:
        return found
    node = nodes.resolve(tx, effect.node_id)
    match effect:
        case DrainNode():
            return _drain(tx, node)
        case RepairNode():
            return _repair(tx, node, effect)
        case QuarantineNode():
            if node.hold is NodeHold.QUARANTINED:
                return "NODE_QUARANTINED", f"node {node.name} is quarantined already"
            return None
        case ReleaseNode():
            return _release(tx, node)
        case UpdateCondition():
            return _condition(tx, node, effect)


def _drain(tx: Tx, node: Node) -> Invalid:
    if node.hold is NodeHold.QUARANTINED:
        return "NODE_QUARANTINED", f"node {node.name} is quarantined and has no jobs"
    return _under_repair(tx, node)


def _under_repair(tx: Tx, node: Node) -> Invalid:
    repair = repairs.unfinished(tx, node.id)
    if repair is None:
        return None
    return (
        "REPAIR_IN_PROGRESS",
        f"node {node.name} is under repair already: {repair.rung.words} ({repair.id}); one at a time",
    )


def _repair(tx: Tx, node: Node, effect: RepairNode) -> Invalid:
    if node.inventory is None:
        return "NODE_UNKNOWN", node.unread or f"node {node.name} has not reported what it is made of yet"
    if effect.incident_id is not None:
        incident = incidents.get(tx, effect.incident_id, Parts.NONE)
        if incident is None or incident.node_id != node.id or incident.state.ended:
            return "STALE", f"incident {effect.incident_id} of node {node.name} is over"
    return _under_repair(tx, node) or _order(node, effect)


def _order(node: Node, effect: RepairNode) -> Invalid:
    if effect.rung not in _ORDERED:
        return "RUNG", "a quarantine is not a repair; quarantine the node instead"
    here = {gpu.uuid for gpu in node.inventory.gpus} if node.inventory else set()
    strangers = [uuid for uuid in effect.gpu_uuids if uuid not in here]
    # A GPU that fell off the bus is not in the inventory any more, and is what its repair is about.
    if strangers and not effect.condition_ids:
        return "GPU_UNKNOWN", f"node {node.name} has no GPU {strangers[0]}"
    if len(effect.gpu_uuids) > GPUS_MAX or len(effect.process_ids) > _PROCESSES_MAX:
        return "RUNG", f"at most {GPUS_MAX} GPUs and {_PROCESSES_MAX} processes in one repair"
    if effect.rung is Rung.RESTART_SERVICE and not _SERVICE.fullmatch(effect.service):
        return "SERVICE", "name the service to restart, for example nvidia-persistenced"
    if effect.rung is Rung.STOP_PROCESS and not effect.process_ids:
        return "PROCESS", "name the processes to stop"
    return None


def _release(tx: Tx, node: Node) -> Invalid:
    if node.hold is None and not node.cordoned:
        return "NODE_IN_SERVICE", f"node {node.name} is neither cordoned, drained, repaired nor quarantined"
    repair = repairs.unfinished(tx, node.id)
    if repair is None or repair.rung is Rung.QUARANTINE or repair.dry_run:
        return None  # writing the hand-off report keeps nobody from releasing the node
    return _under_repair(tx, node)


def _condition(tx: Tx, node: Node, effect: UpdateCondition) -> Invalid:
    if conditions.get(tx, node.id, effect.condition_id) is None:
        return "CONDITION_UNKNOWN", f"node {node.name} has no condition {effect.condition_id!a} now"
    if len(conditions.orders(tx, node.id)) >= conditions.ORDERS_MAX:
        return "CONDITIONS", f"{conditions.ORDERS_MAX} words about conditions wait for {node.name} to come back"
    return None
