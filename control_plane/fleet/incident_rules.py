"""What to do next about a node's trouble. Pure: a frozen view of one node in, the next step out."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from control_plane.fleet import ladder, remembered
from control_plane.fleet.incident_steps import (
    Escalate,
    FinishDrain,
    HealingPolicy,
    LeaveToPerson,
    OpenIncident,
    OrderHandOff,
    OrderRepair,
    Release,
    Resolve,
    Step,
    View,
    Wait,
)
from control_plane.fleet.repair_rules import LINK_DOWN, follow, was_given_up, was_withdrawn
from control_plane.model.health import Condition
from control_plane.model.incident import Incident
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung


def decide(view: View, now: datetime, policy: HealingPolicy) -> Step | None:
    """Return the next step, or None if there is nothing to do about the node."""
    node = view.node
    if node.state is NodeState.REVOKED:
        return None
    if view.owes_hand_off:
        return OrderHandOff()
    if view.repair is not None:
        return follow(view, view.repair, now, policy)
    if view.incident is not None:
        return _treat(view, view.incident, now, policy)
    if node.hold is NodeHold.DRAINING:
        return Wait("its jobs move away") if view.jobs_here else FinishDrain()
    if node.hold is NodeHold.QUARANTINED:
        return None
    if node.hold in (NodeHold.REPAIRING, NodeHold.VERIFYING):
        return Release("nothing is wrong with it any more")
    troubles = tuple(one for one in view.conditions if ladder.asks(one))
    return OpenIncident(troubles) if troubles else None


def _treat(view: View, incident: Incident, now: datetime, policy: HealingPolicy) -> Step | None:
    """No repair is under way: what comes next for the incident."""
    done = [one for one in incident.repairs if not one.dry_run and one.rung is not Rung.QUARANTINE]
    last = max(done, key=lambda one: one.closed_at or now, default=None)
    asking = tuple(one for one in view.conditions if ladder.asks(one))
    if incident.taken_over:
        return None if asking or _taken_out(view.node) else Resolve("over; it was taken over by a person")
    if view.node.hold is NodeHold.QUARANTINED:
        return _quarantined(view, asking, last)
    if any(one.rung is Rung.QUARANTINE and one.origin is RepairOrigin.LOCAL_POLICY for one in incident.repairs):
        return Escalate("its host has put itself out of service, under the local policy")
    if last is not None and was_given_up(last):
        return Escalate(f"{last.rung.words}: {last.message}")
    if last is not None and last.state is RepairState.FAILED and not asking:
        return _doubt(view, incident, last)
    if asking:
        return _climb(view, incident, asking, done, now, policy)
    if last is not None and was_withdrawn(last) and last.condition_ids and _taken_out(view.node):
        return _blocked(view) or _test(last, "nothing was repaired")
    return _end(view, last)


def _taken_out(node: Node) -> bool:
    """Tell whether the trouble keeps the node out of service; what a person has drained stays so without it."""
    return node.hold not in (None, NodeHold.CORDONED)


def _quarantined(view: View, asking: Collection[Condition], last: Repair | None) -> Step:
    """It was quarantined meanwhile, or a person has it tested or repaired: whether it serves again is theirs to say."""
    if asking or last is None or last.state is not RepairState.SUCCEEDED:
        return Escalate(view.node.status_reason or "the node is quarantined")
    return Resolve("it stays quarantined until a person releases it")


def _doubt(view: View, incident: Incident, last: Repair) -> Step:
    """Nothing is seen to be wrong, but the last repair or test has failed: test it under load before it serves."""
    if last.rung is Rung.VERIFY or incident.requested_by:
        return Escalate(f"{last.rung.words} has failed: {last.message}")
    return _blocked(view) or _test(last, f"{last.rung.words} had failed")


def _test(last: Repair, why: str) -> OrderRepair:
    return OrderRepair(Rung.VERIFY, last.gpu_uuids, "", (), last.condition_ids, why)


def _end(view: View, last: Repair | None) -> Step:
    """Nothing that is wrong asks for a repair any more."""
    if _taken_out(view.node):
        if view.stopped:
            return Wait("waits: all effects are stopped")
        repaired = last is not None and last.state is RepairState.SUCCEEDED
        return Release("repaired and verified" if repaired else "nothing is wrong with it any more")
    if last is None:
        return Resolve("it ended by itself")
    alone = " by its host alone" if last.origin is RepairOrigin.LOCAL_POLICY else ""
    return Resolve(f"{last.rung.words}{alone}: {last.message or last.state.value}")


def _climb(
    view: View,
    incident: Incident,
    asking: Collection[Condition],
    done: Collection[Repair],
    now: datetime,
    policy: HealingPolicy,
) -> Step:
    """Something asks for a repair: the gentlest that fits, or the next one after those that were tried."""
    last = max(done, key=lambda one: one.closed_at or now, default=None)
    if last is not None and last.state is RepairState.SUCCEEDED and last.closed_at is not None:
        if last.rung is Rung.MOVE_JOB:
            return _blocked(view) or _order(Rung.VERIFY, asking, incident)
        settled = last.closed_at + timedelta(seconds=policy.settle_seconds)
        if now < settled and any(one.id in last.condition_ids for one in asking):
            return Wait("repaired; waits for the conditions to end", (settled - now).total_seconds())
    if not policy.automatic:
        return Wait("automatic repairs are switched off: waits until it is over, or for a person")
    if last is not None and _was_refused(last) and last.closed_at is not None:
        again = last.closed_at + timedelta(seconds=policy.refused_seconds)
        if now < again:
            return Wait(
                f"{last.rung.words} was refused ({last.message}); it is tried again", (again - now).total_seconds()
            )
    flapping = [one for one in asking if (view.returns or {}).get(one.id, 0) >= policy.flaps]
    if flapping:
        return Escalate(f"{flapping[0].id} keeps coming back: it was over {policy.flaps} times and did not stay so")
    tried = _tried([one for one in done if _concerns(one, asking)], policy)
    rung = ladder.choose(asking, tried, allowed=policy.rungs, jobs_in_the_way=view.jobs_on_gpus)
    if rung is None:
        return Wait("no repair fits: waits until it is over, or for a person")
    if rung is Rung.QUARANTINE:
        why = "the last rung of the ladder is reached" if tried else "nothing but a person can help"
        return Wait("waits: all effects are stopped") if view.stopped else Escalate(why)
    return _blocked(view) or _learnt(view, incident, asking, rung, tried, now, policy)


def _learnt(
    view: View,
    incident: Incident,
    asking: Collection[Condition],
    rung: Rung,
    tried: Collection[Rung],
    now: datetime,
    policy: HealingPolicy,
) -> OrderRepair:
    """Order a rung, or the next one that fits if memory warns of it."""
    plain = _order(rung, asking, incident)
    learnt = remembered.lessons(view.remembered, remembered.fault_of(view.node, asking), now)
    better, passed = remembered.start(
        rung, asking, tried, learnt, allowed=policy.rungs, jobs_in_the_way=view.jobs_on_gpus
    )
    if not passed:
        return plain
    told = "remembered of such a fault: " + "; ".join(lesson.words for lesson in passed)
    return replace(_order(better, asking, incident), remembered=told, instead=plain)


def _tried(done: Collection[Repair], policy: HealingPolicy) -> list[Rung]:
    """Return the rungs not to be tried again. What was refused has done nothing, and what is in its way may go."""
    refused = [one.rung for one in done if _was_refused(one)]
    hopeless = [rung for rung in refused if refused.count(rung) >= policy.refusals]
    return [one.rung for one in done if one.state is not RepairState.REFUSED] + hopeless


def _was_refused(repair: Repair) -> bool:
    return repair.state is RepairState.REFUSED and not was_withdrawn(repair)


def _concerns(repair: Repair, asking: Collection[Condition]) -> bool:
    """Tell whether a repair was of anything that asks now: what was tried on one GPU says nothing about another."""
    gpus = {one.gpu_uuid for one in asking}
    whole_host = not repair.gpu_uuids or "" in gpus
    return whole_host or not gpus.isdisjoint(repair.gpu_uuids) or any(one.id in repair.condition_ids for one in asking)


def _blocked(view: View) -> Step | None:
    if view.stopped:
        return Wait("waits: all effects are stopped")
    if view.rejected_by:
        return LeaveToPerson(view.rejected_by)
    if view.awaits:
        return Wait(f"{view.awaits} needs approval: orquanta action approve {view.awaits}")
    if view.node.state is NodeState.LOST or not view.node.connected:
        return Wait(LINK_DOWN)
    return None


def _order(rung: Rung, asking: Collection[Condition], incident: Incident) -> OrderRepair:
    meant = [one for one in asking if one.repair is not None] or list(asking)
    told = ", ".join(one.id for one in meant[:3]) + (" and more" if len(meant) > 3 else "")  # noqa: PLR2004 - three are enough to tell
    return OrderRepair(
        rung=rung,
        gpu_uuids=ladder.gpus_of(meant, rung),
        service=next((one.service for one in meant if one.service), "") if rung is Rung.RESTART_SERVICE else "",
        process_ids=_processes(meant) if rung is Rung.STOP_PROCESS else (),
        condition_ids=tuple(one.id for one in meant)[:64],
        reason=f"{told} ({incident.id})",
    )


def _processes(conditions: Collection[Condition]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(one for condition in conditions for one in condition.process_ids))[:16]
