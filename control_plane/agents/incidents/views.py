"""Loads what the rules about incidents look at."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

from control_plane.fleet.incident_steps import HealingPolicy, View
from control_plane.fleet.ladder import asks
from control_plane.fleet.repair_rules import was_superseded
from control_plane.governor import drains, hand_offs
from control_plane.governor import repairs as repair_books
from control_plane.model.action import ActionState
from control_plane.model.ids import NodeId
from control_plane.model.incident import Incident
from control_plane.model.memory import Memory
from control_plane.model.repair import Repair, RepairState, Rung
from control_plane.store import actions, bounds, conditions, incidents, nodes, occupied, repairs
from control_plane.store.database import Tx
from control_plane.store.incidents import Parts

NAME = "healing_agent"
REPAIR = "repair_node"


def load_many(tx: Tx, node_ids: Collection[NodeId], policy: HealingPolicy) -> None:
    """Read what `load`, and whoever acts on it in this transaction, look at, in as many statements as for one."""
    nodes.load(tx, node_ids)
    conditions.load(tx, node_ids)
    opened = incidents.load_open(tx, node_ids)
    incidents.load_escalations(tx, node_ids)
    flaps_since = tx.now - timedelta(seconds=policy.flap_seconds)
    repairs.load_recent(tx, node_ids, opened, after=flaps_since)
    actions.load_newest(tx, node_ids, REPAIR, proposer=NAME, since=min(opened.values(), default=tx.now))
    occupied.load(tx, node_ids)
    bounds.count(tx)


def load(tx: Tx, node_id: NodeId, policy: HealingPolicy, remembered: tuple[Memory, ...] = ()) -> View | None:
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
        by_agent=repair is not None and repair_books.is_by_agent(tx, repair),
        grace_seconds=max((float(one.stop_grace_seconds) for one in in_the_way), default=None),
        jobs_on_gpus=any("" in gpus or gpus.intersection(one.gpu_uuids) for one in occupants),
        jobs_here=bool(occupants),
        returns=_returns(tx, incident, policy) if incident is not None else None,
        awaits=awaits,
        rejected_by=rejected_by,
        stopped=actions.kill_switch(tx).engaged,
        owes_hand_off=hand_offs.is_owed(tx, node),
        remembered=remembered,
    )


def just_opened(tx: Tx, view: View, policy: HealingPolicy) -> View:
    """Return the view of a node again whose incident was opened in this transaction, and of which all else is known."""
    incident = incidents.open_of(tx, view.node.id, Parts.REPAIRS)
    return replace(view, incident=incident, returns=None if incident is None else _returns(tx, incident, policy))


def _returns(tx: Tx, incident: Incident, policy: HealingPolicy) -> dict[str, int]:
    """Count, for each condition, how often it was over of late after something was ordered for it.

    It was over after a repair that succeeded, and before one that was superseded. A test that succeeded, and a repair
    that was refused in an incident that has ended since, count where nothing else of the same trouble does. After an
    escalation the count begins anew.
    """
    since = tx.now - timedelta(seconds=policy.flap_seconds)
    escalated_at = incidents.last_escalated_at(tx, incident.node_id)
    if escalated_at is not None:
        since = max(since, escalated_at)
    late = [one for one in repairs.since(tx, incident.node_id, since) if one.rung is not Rung.QUARANTINE]
    if not late:
        return {}
    ended = [one for one in late if _has_ended_it(one)]
    told = {(one.incident_id, condition_id) for one in ended for condition_id in one.condition_ids}
    others = {
        (one.incident_id, condition_id)
        for one in late
        if one.state is RepairState.SUCCEEDED
        or (one.state is RepairState.REFUSED and one.incident_id not in (None, incident.id))
        for condition_id in one.condition_ids
    }
    counts = Counter(condition_id for one in ended for condition_id in one.condition_ids)
    counts.update(condition_id for _, condition_id in others - told)
    return counts


def _has_ended_it(repair: Repair) -> bool:
    return was_superseded(repair) or (repair.state is RepairState.SUCCEEDED and repair.rung is not Rung.VERIFY)


def _approval(tx: Tx, incident: Incident | None) -> tuple[str, str]:
    """Return the agent's repair that awaits approval for this incident, and who has rejected the last one."""
    if incident is None:
        return "", ""
    action = actions.newest_of_node(tx, incident.node_id, REPAIR, proposer=NAME, since=incident.opened_at)
    if action is None:
        return "", ""
    if action.state is ActionState.AWAITING_APPROVAL:
        return action.id, ""
    return "", action.decided_by if action.state is ActionState.REJECTED else ""
