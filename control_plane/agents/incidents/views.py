"""Loads what the rules about incidents look at."""

from collections import Counter
from datetime import timedelta

from control_plane.fleet.incident_steps import HealingPolicy, View
from control_plane.fleet.ladder import asks
from control_plane.governor import drains
from control_plane.model.action import ActionState
from control_plane.model.ids import NodeId
from control_plane.model.incident import Incident
from control_plane.model.repair import RepairState, Rung
from control_plane.store import actions, conditions, incidents, nodes, repairs
from control_plane.store.database import Tx
from control_plane.store.incidents import Parts

NAME = "healing_agent"
REPAIR = "repair_node"


def load(tx: Tx, node_id: NodeId, policy: HealingPolicy) -> View | None:
    """Return the view of a node, or None if there is no such node."""
    node = nodes.get(tx, node_id)
    if node is None:
        return None
    present = conditions.of_node(tx, node_id)
    incident = incidents.open_of(tx, node_id, Parts.REPAIRS)
    repair = repairs.unfinished(tx, node_id)
    occupants = drains.occupants(tx, node_id)
    in_the_way = (
        ()
        if repair is None or repair.dry_run
        else drains.obstacles(occupants, repair.rung, repair.service, repair.gpu_uuids)
    )
    gpus = {one.gpu_uuid for one in present if asks(one)}
    awaits, rejected_by = _approval(tx, incident)
    return View(
        node=node,
        conditions=present,
        incident=incident,
        repair=repair,
        grace_seconds=max((float(one.stop_grace_seconds) for one in in_the_way), default=None),
        jobs_on_gpus=any("" in gpus or gpus.intersection(one.gpu_uuids) for one in occupants),
        jobs_here=bool(occupants),
        successes=_successes(tx, node_id, policy) if incident is not None else None,
        awaits=awaits,
        rejected_by=rejected_by,
        stopped=actions.kill_switch(tx).engaged,
    )


def _successes(tx: Tx, node_id: NodeId, policy: HealingPolicy) -> dict[str, int]:
    """Count, for each condition, the repairs that ended it of late; after an escalation the count begins anew.

    A test that only follows a repair of the same trouble counts with it; one that was all that was asked for counts.
    """
    since = tx.now - timedelta(seconds=policy.flap_seconds)
    escalated_at = incidents.last_escalated_at(tx, node_id)
    if escalated_at is not None:
        since = max(since, escalated_at)
    succeeded = [one for one in repairs.since(tx, node_id, since) if one.state is RepairState.SUCCEEDED]
    repaired = [one for one in succeeded if one.rung not in (Rung.VERIFY, Rung.QUARANTINE)]
    told = {(one.incident_id, condition_id) for one in repaired for condition_id in one.condition_ids}
    counts = Counter(condition_id for one in repaired for condition_id in one.condition_ids)
    tested = {
        (one.incident_id, condition_id)
        for one in succeeded
        if one.rung is Rung.VERIFY
        for condition_id in one.condition_ids
    }
    counts.update(condition_id for _, condition_id in tested - told)
    return counts


def _approval(tx: Tx, incident: Incident | None) -> tuple[str, str]:
    """Return the agent's repair that awaits approval for this incident, and who has rejected the last one."""
    if incident is None:
        return "", ""
    action = actions.newest_of_node(tx, incident.node_id, REPAIR, proposer=NAME)
    if action is None or action.created_at < incident.opened_at:
        return "", ""
    if action.state is ActionState.AWAITING_APPROVAL:
        return action.id, ""
    return "", action.decided_by if action.state is ActionState.REJECTED else ""
