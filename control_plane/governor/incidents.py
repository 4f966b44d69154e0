"""Keeps incidents in step with what hosts say. These are observations: nothing here needs a proposal."""

from collections.abc import Collection, Sequence
from datetime import datetime

from control_plane.fleet import diagnosis, ladder
from control_plane.model.health import Condition, ConditionSeverity
from control_plane.model.ids import INCIDENT, IncidentId, NodeId, new_id
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.node import Node
from control_plane.model.repair import RepairState, Rung
from control_plane.store import audit, conditions, incidents, repairs
from control_plane.store.database import Tx
from control_plane.store.incidents import Parts
from control_plane.store.readable import readable

CONDITIONS_MAX = 64
"""Conditions told in one incident; the worst ones."""

AGENT = "healing_agent"

_TOLD_AT_ONCE = 8
"""Entries of one kind about conditions that one change can add."""


def open_incident(
    tx: Tx, node: Node, troubles: Sequence[Condition], *, why: str, requested_by: str = "", action_id: str = ""
) -> IncidentId:
    """Open an incident for a node that has none, or return the one that it has."""
    present = incidents.open_ids(tx, [node.id]).get(node.id)
    if present is not None:
        return present
    told = tuple(troubles[:CONDITIONS_MAX])
    lasting = {one.id for one in conditions.of_node(tx, node.id)} if told else set[str]()
    incident = Incident(
        id=new_id(INCIDENT),
        node_id=node.id,
        node_name=node.name,
        state=IncidentState.OPEN,
        summary=diagnosis.summary(node.name, told),
        diagnosis=diagnosis.diagnose(told) or why,
        status_reason=why,
        observed_at=_first_seen(told, tx.now),
        opened_at=tx.now,
        version=1,
        conditions=told,
        active_ids=frozenset(one.id for one in told if one.id in lasting),
        gpu_uuids=_gpus(told),
        requested_by=requested_by,
    )
    incidents.insert(tx, incident)
    incidents.add_entry(tx, incident.id, "detected", incident.summary, action_id=action_id)
    audit.append(
        tx,
        agent_name=requested_by or AGENT,
        action="incident.opened",
        reasoning=incident.diagnosis,
        outcome=IncidentState.OPEN.value,
        payload={"incident_id": incident.id, "conditions": [one.id for one in told]},
        node_id=node.id,
    )
    return incident.id


def follow_conditions(tx: Tx, node_id: NodeId) -> None:
    """Let the node's open incident know how its conditions stand: they join it, change, or are over.

    One that cannot be read is left as it is: a host is heard all the same, and it catches up when it can be read.
    """
    found = readable(tx, [node_id], lambda one: incidents.open_of(tx, one, Parts.NONE), f"the incident of {node_id}")
    incident = found[0] if found else None
    if incident is None:
        return
    now = conditions.of_node(tx, node_id)
    present = {one.id: one for one in now}
    known = {one.id: one for one in incident.conditions}
    joining = [one for one in now if one.id not in known and _belongs(one)]
    told = [present.get(one_id, one) for one_id, one in known.items()] + joining
    told = told[:CONDITIONS_MAX]
    active = frozenset(one.id for one in told if one.id in present)
    if tuple(told) == incident.conditions and active == incident.active_ids:
        return
    for one in joining[:_TOLD_AT_ONCE]:
        incidents.add_entry(tx, incident.id, "condition.joined", one.summary or one.id)
    for one_id in sorted(incident.active_ids - active)[:_TOLD_AT_ONCE]:
        incidents.add_entry(tx, incident.id, "condition.over", one_id)
    for one_id in sorted(active - incident.active_ids - {one.id for one in joining})[:_TOLD_AT_ONCE]:
        incidents.add_entry(tx, incident.id, "condition.back", one_id)
    incidents.update(
        tx,
        incident.id,
        summary=diagnosis.summary(incident.node_name, told),
        diagnosis=diagnosis.diagnose(told),
        conditions=sorted(told, key=lambda one: (-one.severity, one.first_seen_at, one.id)),
        active_ids=active,
        gpu_uuids=_gpus(told),
        observed_at=min(incident.observed_at, _first_seen(told, incident.observed_at)),
    )


def close(tx: Tx, incident: Incident, state: IncidentState, reason: str) -> None:
    """End an incident, with a record of how."""
    incidents.update(tx, incident.id, state=state, status_reason=reason)
    incidents.add_entry(tx, incident.id, state.value, reason)
    audit.append(
        tx,
        agent_name=AGENT,
        action=f"incident.{state.value}",
        reasoning=reason,
        outcome=state.value,
        payload={"incident_id": incident.id, "repairs": [repair.id for repair in incident.repairs]},
        node_id=incident.node_id,
    )


def close_for_release(tx: Tx, node_id: NodeId, reason: str) -> None:
    """End what is open about a node that a person puts back into service or takes out of the fleet.

    What waited for a person to act is resolved with it: the outcome says why it was escalated and what was tested.
    """
    incident = incidents.open_of(tx, node_id)
    if incident is not None:
        close(tx, incident, IncidentState.RESOLVED, reason)
    for one in incidents.escalated(tx, node_id):
        close(tx, one, IncidentState.RESOLVED, f"{reason}; {_tested_since(tx, one)}; before: {one.status_reason}")


def _tested_since(tx: Tx, incident: Incident) -> str:
    since = incident.closed_at or incident.opened_at
    passed = [
        repair
        for repair in repairs.since(tx, incident.node_id, since)
        if repair.state is RepairState.SUCCEEDED and repair.rung is not Rung.QUARANTINE and repair.checks
    ]
    return f"tested since, and passed ({passed[0].id})" if passed else "not tested since"


def _belongs(condition: Condition) -> bool:
    return ladder.asks(condition) or condition.severity is ConditionSeverity.FATAL


def _gpus(told: Collection[Condition]) -> tuple[str, ...]:
    uuids = [one.gpu_uuid for one in told]
    return tuple(sorted(set(uuids))) if uuids and all(uuids) else ()


def _first_seen(told: Collection[Condition], now: datetime) -> datetime:
    return min((min(one.first_seen_at, now) for one in told), default=now)
