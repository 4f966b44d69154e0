"""What to do next about a node's trouble. Pure: a frozen view of one node in, the next step out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.fleet import ladder
from control_plane.model.health import Condition
from control_plane.model.incident import Incident
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung


@dataclass(frozen=True, slots=True)
class HealingPolicy:
    """How the healing agent goes about it.

    `automatic`: whether it repairs at all, or leaves that to people. `rungs` are those that it may climb.
    `settle_seconds`: how long a condition may take to end after a repair that succeeded. A condition that is back
    after `flaps` repairs that succeeded within `flap_seconds` stops the ladder. `drain_seconds`: how long jobs may take
    to be gone beyond their own grace. A rung that a host refuses is tried again after `refused_seconds`, and given up
    after `refusals`.
    """

    automatic: bool = True
    rungs: frozenset[Rung] = frozenset(Rung) - {Rung.QUARANTINE}
    settle_seconds: float = 15.0
    flaps: int = 3
    flap_seconds: float = 6 * 3600.0
    drain_seconds: float = 120.0
    refusals: int = 3
    refused_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class View:
    """All that is looked at: one node, and what the books say about it at one moment.

    `repair` is the one that has not ended; `grace_seconds` the longest grace of the jobs that are in its way, None if
    none is; `jobs_on_gpus` whether a job runs on what the conditions are about. `successes` counts, for each condition,
    the repairs that ended it of late. `awaits` is an action of the agent's that a person has to approve, `rejected_by`
    who rejected the last one. `stopped` says that the kill switch is engaged.
    """

    node: Node
    conditions: tuple[Condition, ...] = ()
    incident: Incident | None = None
    repair: Repair | None = None
    grace_seconds: float | None = None
    jobs_on_gpus: bool = False
    jobs_here: bool = False
    successes: Mapping[str, int] | None = None
    awaits: str = ""
    rejected_by: str = ""
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """A trouble begins."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class OrderRepair:
    """Climb a rung."""

    rung: Rung
    gpu_uuids: tuple[str, ...]
    service: str
    process_ids: tuple[int, ...]
    condition_ids: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class StartRepair:
    """Nothing is in the way of the repair any more: give it to its host."""


@dataclass(frozen=True, slots=True)
class GiveUpRepair:
    """The repair was not answered, not ended in time, or its way cannot be cleared."""

    reason: str


@dataclass(frozen=True, slots=True)
class FinishDrain:
    """A drained node has no jobs any more."""


@dataclass(frozen=True, slots=True)
class Release:
    """Put the node back into service."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """The trouble is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Escalate:
    """A person must act: quarantine the node."""

    reason: str


@dataclass(frozen=True, slots=True)
class LeaveToPerson:
    """A person said no: what follows is theirs."""

    person: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now. `seconds`: look again then at the latest; the incident tells the reason."""

    reason: str
    seconds: float | None = None


Step = (
    OpenIncident
    | OrderRepair
    | StartRepair
    | GiveUpRepair
    | FinishDrain
    | Release
    | Resolve
    | Escalate
    | LeaveToPerson
    | Wait
)


def decide(view: View, now: datetime, policy: HealingPolicy) -> Step | None:
    """Return the next step, or None if there is nothing to do about the node."""
    node = view.node
    if node.state is NodeState.REVOKED:
        return None
    if view.repair is not None:
        return _follow(view, view.repair, now, policy)
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


def _follow(view: View, repair: Repair, now: datetime, policy: HealingPolicy) -> Step:
    """A repair is ordered: see to it that it begins, and that it ends."""
    if repair.sent_at is None:
        if view.stopped:
            return Wait("waits: all effects are stopped")
        if view.grace_seconds is None:
            return StartRepair()
        late = repair.ordered_at + timedelta(seconds=view.grace_seconds + policy.drain_seconds)
        if now >= late:
            return GiveUpRepair("the jobs that are in the way of the repair did not stop in time")
        return Wait("waits until the jobs that are in the way have moved", (late - now).total_seconds())
    overdue = overdue_at(repair)
    if now < overdue:
        return Wait(f"{repair.rung.words}: {repair.state.value}", (overdue - now).total_seconds())
    if repair.state is RepairState.PENDING:
        if view.stopped:
            return Wait("waits: all effects are stopped")
        return GiveUpRepair("its host did not answer the order in time")
    return GiveUpRepair(f"it did not end within {ladder.DEADLINE_SECONDS[repair.rung]:.0f} s")


def overdue_at(repair: Repair) -> datetime:
    """Return when a repair that was given to its host is given up."""
    begun = repair.sent_at or repair.ordered_at
    if repair.state is RepairState.PENDING and repair.not_after is not None:
        return repair.not_after + timedelta(seconds=ladder.MARGIN_SECONDS)
    return begun + timedelta(seconds=ladder.DEADLINE_SECONDS[repair.rung])


def was_given_up(repair: Repair) -> bool:
    """Tell whether a repair ended without its host saying how: what state the host is in is not known."""
    return repair.state is RepairState.FAILED and repair.ended_at is None


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
    blocked = _blocked(view)
    if blocked is not None:
        return blocked
    return OrderRepair(Rung.VERIFY, last.gpu_uuids, "", (), last.condition_ids, f"{last.rung.words} had failed")


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
    if last is not None and last.state is RepairState.REFUSED and last.closed_at is not None:
        again = last.closed_at + timedelta(seconds=policy.refused_seconds)
        if now < again:
            return Wait(
                f"{last.rung.words} was refused ({last.message}); it is tried again", (again - now).total_seconds()
            )
    flapping = [one for one in asking if (view.successes or {}).get(one.id, 0) >= policy.flaps]
    if flapping:
        return Escalate(f"{flapping[0].id} keeps coming back: {policy.flaps} repairs succeeded and did not last")
    tried = _tried([one for one in done if _concerns(one, asking)], policy)
    rung = ladder.choose(asking, tried, allowed=policy.rungs, jobs_in_the_way=view.jobs_on_gpus)
    if rung is None:
        return Wait("no repair fits: waits until it is over, or for a person")
    if rung is Rung.QUARANTINE:
        why = "the last rung of the ladder is reached" if tried else "nothing but a person can help"
        return Wait("waits: all effects are stopped") if view.stopped else Escalate(why)
    blocked = _blocked(view)
    return blocked or _order(rung, asking, incident)


def _tried(done: Collection[Repair], policy: HealingPolicy) -> list[Rung]:
    """Return the rungs not to be tried again. What was refused has done nothing, and what is in its way may go."""
    refused = [one.rung for one in done if one.state is RepairState.REFUSED]
    hopeless = [rung for rung in refused if refused.count(rung) >= policy.refusals]
    return [one.rung for one in done if one.state is not RepairState.REFUSED] + hopeless


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
        return Wait("waits for the host: its link is down")
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
