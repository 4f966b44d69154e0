"""Takes the steps about a node that only record what is so, or move a repair on that was ordered already."""

from control_plane.fleet.incident_steps import (
    FinishDrain,
    GiveUpRepair,
    LeaveToPerson,
    OpenIncident,
    OrderHandOff,
    Resolve,
    ResumeRepair,
    StartRepair,
    Step,
    SuspendRepair,
    View,
    WithdrawRepair,
)
from control_plane.governor import hand_offs, holds, repairs
from control_plane.governor import incidents as keeper
from control_plane.model.incident import IncidentState
from control_plane.model.node import Node, NodeHold
from control_plane.model.repair import Repair
from control_plane.store import incidents
from control_plane.store.database import Tx


def observe(tx: Tx, view: View, step: Step) -> str:
    """Take a step that only records what is so; return it in words."""
    node, incident = view.node, view.incident
    if view.repair is not None:
        return _move_on(tx, node, view.repair, step)
    match step:
        case OpenIncident():
            keeper.open_incident(tx, node, step.conditions, why="seen; what to do is being decided")
            return f"opened an incident of {node.name}"
        case OrderHandOff():
            hand_offs.order_owed(tx, node)
            return f"{node.name}: a hand-off report is ordered"
        case FinishDrain():
            holds.hold(tx, node, NodeHold.CORDONED, f"drained: {node.status_reason}")
            return f"{node.name} is drained"
        case Resolve() if incident is not None:
            keeper.close(tx, incident, IncidentState.RESOLVED, step.reason)
            return f"{incident.id} of {node.name} is resolved: {step.reason}"
        case LeaveToPerson() if incident is not None:
            incidents.acknowledge(tx, incident.id, by=step.person, reason="rejected the repair", take_over=True)
            return f"{incident.id} of {node.name} is left to {step.person}"
        case _:
            raise TypeError(f"{step} does not fit {node.name}")


def _move_on(tx: Tx, node: Node, repair: Repair, step: Step) -> str:
    """Take a step about a repair that has not ended."""
    match step:
        case StartRepair():
            repairs.start_if_clear(tx, repair)
            return f"{node.name}: {repair.rung.words}"
        case GiveUpRepair():
            repairs.give_up(tx, repair, step.reason)
            return f"{node.name}: {repair.rung.words} given up, {step.reason}"
        case WithdrawRepair():
            repairs.withdraw(tx, repair, step.reason)
            return f"{node.name}: {repair.rung.words} is not done, {step.reason}"
        case SuspendRepair():
            repairs.suspend(tx, repair)
            return f"{node.name}: {repair.rung.words} is kept back"
        case ResumeRepair():
            repairs.resume(tx, repair)
            return f"{node.name}: {repair.rung.words} goes on"
        case _:
            raise TypeError(f"{step} does not fit {repair.rung.words} of {node.name}")
