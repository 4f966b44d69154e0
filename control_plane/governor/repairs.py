"""Keeps the books of repairs: what hosts report moves them, their nodes and their incidents forward, each once."""

from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from control_plane.fleet import lifecycle
from control_plane.fleet.ladder import ANSWER_SECONDS
from control_plane.fleet.repair_rules import extended, is_out_of_time, is_over, ready_for
from control_plane.governor import drains, holds, incidents
from control_plane.model.ids import REPAIR, IncidentId, NodeId, RepairId, derived_id
from control_plane.model.incident import IncidentState
from control_plane.model.node import Node, NodeHold
from control_plane.model.repair import Repair, RepairOrigin, RepairReport, RepairState, Rung
from control_plane.store import actions, audit, conditions, nodes, repairs
from control_plane.store import incidents as incident_store
from control_plane.store.database import Tx

log = structlog.get_logger()

_REMEMBERED = timedelta(days=60)
"""Repairs stay in the books for longer than this."""

_LOCAL_MAX = 1_000
"""Repairs kept that one host did by itself; a policy allows few in a day, so one that tells of more is not believed."""

_DISTRUSTED = timedelta(hours=24)
"""How long a host that has not ended a repair of its own is believed only about repairs that have ended."""


@dataclass(frozen=True, slots=True)
class RepairOutcome:
    """What became of a report. `foreign`: it is about a repair that is not this node's to report."""

    changed: bool
    foreign: bool = False


def apply_report(tx: Tx, node_id: NodeId, report: RepairReport) -> RepairOutcome:
    """Take a host's report about a repair into the books.

    A host can only report about its own repairs; one that has ended stays as it ended. What a host did by itself
    under the local policy becomes a repair of its own, and part of an incident.
    """
    if report.origin is RepairOrigin.LOCAL_POLICY:
        return _apply_local(tx, node_id, report)
    before = repairs.get(tx, RepairId(report.repair_id))
    if before is None:
        log.warning("repair.unknown", node_id=node_id, repair_id=report.repair_id)
        return RepairOutcome(changed=False)
    if before.node_id != node_id or before.origin is not RepairOrigin.CONTROL_PLANE:
        log.warning("repair.foreign", node_id=node_id, repair_id=report.repair_id)
        return RepairOutcome(changed=False, foreign=True)
    if before.sent_at is None:
        # It was never given to the host, so this is not about what the books mean.
        return RepairOutcome(changed=False, foreign=True)
    return RepairOutcome(changed=_merge(tx, before, report))


def apply_live_report(tx: Tx, node_id: NodeId, report: RepairReport) -> RepairOutcome:
    """Take a report that came beside the spool into the books, see `apply_report`.

    The end of what a host has done alone is left to its spool, which first tells of what it was done for.
    """
    if report.origin is RepairOrigin.LOCAL_POLICY and report.state.ended:
        return RepairOutcome(changed=False)
    return apply_report(tx, node_id, report)


def _apply_local(tx: Tx, node_id: NodeId, report: RepairReport) -> RepairOutcome:
    # The host chose the name, so it counts on this host alone.
    repair_id = derived_id(REPAIR, node_id, report.repair_id)
    before = repairs.get(tx, repair_id)
    if before is not None:
        return RepairOutcome(changed=_merge(tx, before, report))
    if report.ended_at is not None and tx.now - report.ended_at > _REMEMBERED:
        return RepairOutcome(changed=False)  # the host still tells of it, but the books may have forgotten it
    if repairs.count_local(tx, node_id) >= _LOCAL_MAX:
        log.warning("repair.too_many_local", node_id=node_id, repair_id=report.repair_id)
        return RepairOutcome(changed=False)
    since = tx.now - _DISTRUSTED
    if not report.state.ended and not repairs.may_begin_local(tx, node_id, abandoned_since=since):
        # The end of the one before comes through its spool first; then the next word about this one counts.
        log.warning("repair.second_local", node_id=node_id, repair_id=report.repair_id)
        return RepairOutcome(changed=False)
    node = nodes.resolve(tx, node_id)
    incident_id: IncidentId | None = None
    if not report.dry_run:
        # What a repair has ended is over by the time that it is told of; what it was stands in the host's own events.
        troubles = conditions.as_last_known(tx, node_id, report.condition_ids)
        why = f"its host has begun by itself, under the local policy: {report.rung.words}"
        incident_id = incidents.open_incident(tx, node, troubles, why=why)
    first = Repair(
        id=repair_id,
        node_id=node_id,
        incident_id=incident_id,
        action_id=None,
        origin=RepairOrigin.LOCAL_POLICY,
        rung=report.rung,
        state=RepairState.PENDING,
        reason=f"the local policy, version {report.policy_version}, allowed it while the link was down",
        ordered_at=min(report.started_at or tx.now, tx.now),
        gpu_uuids=report.gpu_uuids,
        service=report.service,
        dry_run=report.dry_run,
        condition_ids=report.condition_ids,
        # One that still runs has its time from now on: how long it took alone, by what clock, says nothing of it.
        sent_at=min(report.started_at or tx.now, tx.now) if report.state.ended else tx.now,
        policy_version=report.policy_version,
        host_repair_id=report.repair_id,
    )
    repairs.insert(tx, first)
    audit.append(
        tx,
        agent_name=node.name,
        action="repair.local",
        reasoning=first.reason,
        outcome=report.state.value,
        payload={"repair_id": repair_id, "rung": report.rung.name, "message": report.message},
        node_id=node_id,
    )
    if incident_id is not None:
        incident_store.add_entry(
            tx, incident_id, "repair.local", f"{report.rung.words}: {first.reason}", repair_id=repair_id
        )
        if report.state not in (RepairState.SUCCEEDED, RepairState.REFUSED):
            # What went well, or was not done, is over: that must not take its host out of service now.
            _show(tx, replace(first, state=RepairState.RUNNING))
    _merge(tx, first, report)
    return RepairOutcome(changed=True)


def _merge(tx: Tx, before: Repair, report: RepairReport) -> bool:
    """Take over what a report says beyond what is known. The same report twice is the same as once."""
    if before.state.ended:
        return False
    said, message = report.state, report.message or before.message
    if report.dry_run and not before.dry_run and said.ended:
        # A host that is set to dry runs alone has done nothing, however well that went.
        said, message = RepairState.REFUSED, f"its host only says what it would do: {message}"
    state = said if lifecycle.REPAIR.allows(before.state, said) else before.state
    verifying = state is RepairState.VERIFYING or (state.ended and bool(report.checks))
    after = replace(
        before,
        state=state,
        message=message,
        steps=report.steps or before.steps,
        checks=report.checks or before.checks,
        started_at=before.started_at or report.started_at,
        ended_at=(report.ended_at or tx.now) if state.ended else None,
        verifying_at=before.verifying_at or (tx.now if verifying else None),
        handoff_json=report.handoff_json or before.handoff_json,
    )
    if after == before:
        return False
    after = repairs.update(tx, before, after)
    if after.state is not before.state:
        record_state(tx, after)
    return True


def record_state(tx: Tx, repair: Repair) -> None:
    """Let the node, the incident and the audit follow a repair's state."""
    text = f"{repair.rung.words}: {repair.message or repair.state.value}"
    if repair.incident_id is not None:
        kind = f"repair.{repair.state.value}"
        incident_store.add_entry(tx, repair.incident_id, kind, text, repair_id=repair.id)
    if repair.state.ended:
        audit.append(
            tx,
            agent_name="node-link" if repair.message or repair.steps else incidents.AGENT,
            action=f"repair.{repair.state.value}",
            reasoning=text,
            outcome=repair.state.value,
            payload={
                "repair_id": repair.id,
                "incident_id": repair.incident_id or "",
                "steps": [f"{step.name}: {'ok' if step.ok else 'failed'}" for step in repair.steps],
                "checks": [f"{check.name}: {check.outcome.value}" for check in repair.checks],
            },
            action_id=repair.action_id or "",
            node_id=repair.node_id,
        )
    elif not repair.dry_run:
        _show(tx, repair)


def _show(tx: Tx, repair: Repair) -> None:
    """Let node and incident show that a repair is under way, or being tested."""
    node = nodes.resolve(tx, repair.node_id)
    verifying = repair.state is RepairState.VERIFYING or repair.rung is Rung.VERIFY
    if node.hold is not NodeHold.QUARANTINED and repair.rung is not Rung.QUARANTINE:
        wanted = NodeHold.VERIFYING if verifying else NodeHold.REPAIRING
        if node.hold is not wanted:
            holds.hold(tx, node, wanted, f"{repair.rung.words} ({repair.id})")
    if repair.incident_id is None:
        return
    incident = incident_store.standing(tx, repair.incident_id)
    if incident is None or incident.state.ended:
        return
    reason = f"{repair.rung.words}: {repair.state.value}"
    if incident.state is IncidentState.OPEN:
        incident_store.update(tx, repair.incident_id, state=IncidentState.REPAIRING, status_reason=reason)
    state = IncidentState.VERIFYING if verifying else IncidentState.REPAIRING
    incident_store.update(tx, repair.incident_id, state=state, status_reason=reason)
    if incident.cordoned_at is None:
        incident_store.update(tx, repair.incident_id, cordoned_at=tx.now, drained_at=tx.now)


def start_if_clear(tx: Tx, repair: Repair) -> bool:
    """Give an order to its host once it is there and nothing stands in its way; return whether it was given."""
    if not ready_for(nodes.resolve(tx, repair.node_id), repair):
        return False
    present = drains.occupants(tx, repair.node_id)
    if not repair.dry_run and drains.obstacles(present, repair.rung, repair.service, repair.gpu_uuids):
        return False
    if repair.incident_id is not None and not repair.dry_run:
        _note_drained(tx, repair.incident_id)
    if repair.rung is Rung.MOVE_JOB:
        moved = replace(
            _given(tx, repair), state=RepairState.SUCCEEDED, message="its jobs go on elsewhere", ended_at=tx.now
        )
        _show(tx, replace(repair, state=RepairState.RUNNING))
        record_state(tx, repairs.update(tx, repair, moved))
        return True
    give_to_host(tx, repair)
    return True


def give_to_host(tx: Tx, repair: Repair) -> None:
    """Have the order sent to its host, whatever is in the way."""
    started = repairs.update(tx, repair, _given(tx, repair))
    if repair.incident_id is not None:
        kind = "dry_run.ordered" if repair.dry_run else "repair.ordered"
        incident_store.add_entry(
            tx,
            repair.incident_id,
            kind,
            f"{repair.rung.words}: {repair.reason}",
            action_id=repair.action_id or "",
            repair_id=repair.id,
        )
    if not repair.dry_run:
        _show(tx, started)


def _given(tx: Tx, repair: Repair) -> Repair:
    return replace(repair, sent_at=tx.now, not_after=tx.now + timedelta(seconds=ANSWER_SECONDS))


def _note_drained(tx: Tx, incident_id: IncidentId) -> None:
    incident = incident_store.standing(tx, incident_id)
    if incident is not None and incident.drained_at is None and not incident.state.ended:
        incident_store.update(tx, incident_id, drained_at=tx.now)
        incident_store.add_entry(tx, incident_id, "drained", "nothing stands in the way of the repair")


def give_up(tx: Tx, repair: Repair, reason: str) -> None:
    """End a repair that its host did not answer or did not end in time. What its host says later changes nothing."""
    after = repairs.update(tx, repair, replace(repair, state=RepairState.FAILED, message=reason))
    record_state(tx, after)


def withdraw(tx: Tx, repair: Repair, reason: str) -> None:
    """End a repair that its host has not begun. What its host says later changes nothing."""
    after = repairs.update(tx, repair, replace(repair, state=RepairState.REFUSED, message=reason))
    record_state(tx, after)


def suspend(tx: Tx, repair: Repair) -> None:
    """Keep an order from its host for now; see `resume`."""
    repairs.update(tx, repair, replace(repair, not_after=None))


def resume(tx: Tx, repair: Repair) -> None:
    """Have an order go to its host again, with all the time in which to begin with it."""
    repairs.update(tx, repair, _given(tx, repair))


def note_reconnect(tx: Tx, node_id: NodeId) -> None:
    """Give the time back that a host's repair has lost while its link was down; call it after the host's full state.

    An order that was not begun is looked at again first, by the healing agent, if there is any doubt about it.
    """
    repair = repairs.unfinished(tx, node_id)
    if repair is None or repair.sent_at is None:
        return
    if repair.state is not RepairState.PENDING:
        if repair.rung is not Rung.REBOOT_HOST:  # for which its time reckons with a link that is down
            repairs.update(tx, repair, replace(repair, not_after=extended(repair, tx.now)))
    elif repair.origin is RepairOrigin.CONTROL_PLANE:
        stopped = actions.kill_switch(tx).engaged and repair.rung is not Rung.QUARANTINE
        over = is_over(repair, conditions.of_node(tx, node_id), by_agent=is_by_agent(tx, repair))
        if stopped or over:
            suspend(tx, repair)
        elif not is_out_of_time(repair, tx.now):
            resume(tx, repair)


def is_by_agent(tx: Tx, repair: Repair) -> bool:
    """Tell whether the healing agent has ordered a repair, not a person."""
    action = None if repair.action_id is None else actions.get(tx, repair.action_id)
    return action is not None and action.proposer == incidents.AGENT


def open_or_join(tx: Tx, node: Node, *, requested_by: str, reason: str, action_id: str) -> IncidentId:
    """Return the node's open incident, or a fresh one for what a person asks for."""
    troubles = [one for one in conditions.of_node(tx, node.id) if one.repair is not None]
    return incidents.open_incident(tx, node, troubles, why=reason, requested_by=requested_by, action_id=action_id)
