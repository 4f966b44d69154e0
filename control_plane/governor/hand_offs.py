"""The report that the host of a quarantined node writes for whoever looks at it; every quarantine has one."""

from control_plane.governor import repairs
from control_plane.model.action import QuarantineNode
from control_plane.model.ids import ActionId, IncidentId, NodeId
from control_plane.model.node import Node, NodeHold
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung
from control_plane.store import actions, incidents
from control_plane.store import repairs as repair_store
from control_plane.store.database import Tx
from control_plane.store.incidents import Parts


def order(tx: Tx, node_id: NodeId, action_id: ActionId, *, reason: str, incident_id: IncidentId | None) -> None:
    """Have the node's host write its report; no repair of the node may be under way."""
    ordered = Repair(
        id=repair_store.id_of(action_id),
        node_id=node_id,
        incident_id=incident_id,
        action_id=action_id,
        origin=RepairOrigin.CONTROL_PLANE,
        rung=Rung.QUARANTINE,
        state=RepairState.PENDING,
        reason=reason,
        ordered_at=tx.now,
    )
    repair_store.insert(tx, ordered)
    repairs.give_to_host(tx, ordered)


def is_owed(tx: Tx, node: Node) -> bool:
    """Tell whether the node's quarantine has no report yet, because a repair was under way when it began."""
    return _owed_for(tx, node) is not None


def order_owed(tx: Tx, node: Node) -> None:
    """Order the report that is owed, if any."""
    action_id = _owed_for(tx, node)
    action = None if action_id is None else actions.get(tx, action_id)
    if action is None or not isinstance(action.effect, QuarantineNode):
        return
    incident_id = action.effect.incident_id
    kept = incident_id is not None and incidents.get(tx, incident_id, Parts.NONE) is not None
    order(tx, node.id, action.id, reason=action.effect.reason, incident_id=incident_id if kept else None)


def _owed_for(tx: Tx, node: Node) -> ActionId | None:
    if node.hold is not NodeHold.QUARANTINED or repair_store.is_unfinished(tx, node.id):
        return None
    return repair_store.without_hand_off(tx, node.id)
