"""What to do next about a repair that is ordered, until it has ended. Pure."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from control_plane.fleet import ladder
from control_plane.fleet.incident_steps import (
    GiveUpRepair,
    HealingPolicy,
    ResumeRepair,
    StartRepair,
    Step,
    SuspendRepair,
    View,
    Wait,
    WithdrawRepair,
)
from control_plane.model.health import Condition
from control_plane.model.node import Node, NodeState
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung

LINK_DOWN_MAX_SECONDS: Final = 86_400.0
"""How long a repair may take in all, from when it was ordered, because its host's link is down now and then."""

_SUPERSEDED: Final = "superseded"
_OVER: Final = f"{_SUPERSEDED}: what it was for was over before it began"
LINK_DOWN: Final = "waits for the host: its link is down"


def follow(view: View, repair: Repair, now: datetime, policy: HealingPolicy) -> Step:
    """A repair is ordered: see to it that it begins, and that it ends."""
    if repair.sent_at is None:
        return _not_given(view, repair, now, policy)
    if repair.state is RepairState.PENDING and repair.origin is RepairOrigin.CONTROL_PLANE:
        return _not_begun(view, repair, repair.sent_at, now)
    overdue = overdue_at(repair)
    if now < overdue:
        return Wait(f"{repair.rung.words}: {repair.state.value}", (overdue - now).total_seconds())
    if not view.node.connected and repair.rung is not Rung.REBOOT_HOST:
        last = _last(repair)
        if now < last:
            return Wait(f"{repair.rung.words}: {LINK_DOWN}", (last - now).total_seconds())
    return GiveUpRepair(f"it did not end within {ladder.DEADLINE_SECONDS[repair.rung]:.0f} s")


def _not_given(view: View, repair: Repair, now: datetime, policy: HealingPolicy) -> Step:
    """The order waits here, until the jobs in its way are gone and its host is there."""
    if view.node.state is NodeState.LOST:
        # What becomes of its jobs is decided when its fence has run out; what it needs, once it is back.
        return WithdrawRepair("not delivered: its host is lost")
    if view.stopped:
        return Wait("waits: all effects are stopped")
    if is_over(repair, view.conditions, by_agent=view.by_agent):
        return WithdrawRepair(_OVER)
    if view.grace_seconds is None:
        return StartRepair() if ready_for(view.node, repair) else Wait(LINK_DOWN)
    late = repair.ordered_at + timedelta(seconds=view.grace_seconds + policy.drain_seconds)
    if now >= late:
        return GiveUpRepair("the jobs that are in the way of the repair did not stop in time")
    return Wait("waits until the jobs that are in the way have moved", (late - now).total_seconds())


def ready_for(node: Node, repair: Repair) -> bool:
    """Tell whether a repair can begin as far as its host's link goes; jobs are moved without the host's help."""
    return node.connected or repair.rung is Rung.MOVE_JOB


def _not_begun(view: View, repair: Repair, sent_at: datetime, now: datetime) -> Step:
    """The order was given. Time while its link is down or everything is stopped does not count against the host."""
    if not view.node.connected:
        # By then it has also ended if it was begun unheard.
        hopeless = sent_at + timedelta(seconds=ladder.DEADLINE_SECONDS[repair.rung])
        if view.node.state is NodeState.LOST and now >= hopeless:
            return WithdrawRepair("not delivered: its host was lost before it said that it had begun")
        return Wait(LINK_DOWN, max(1.0, (hopeless - now).total_seconds()))
    if view.stopped and repair.rung is not Rung.QUARANTINE:
        return Wait("waits: all effects are stopped") if repair.not_after is None else SuspendRepair()
    if repair.not_after is None:
        over = is_over(repair, view.conditions, by_agent=view.by_agent)
        return WithdrawRepair(_OVER) if over else ResumeRepair()
    overdue = overdue_at(repair)
    if now < overdue:
        return Wait(f"{repair.rung.words}: {repair.state.value}", (overdue - now).total_seconds())
    return GiveUpRepair("its host did not answer the order in time")


def is_over(repair: Repair, conditions: Collection[Condition], *, by_agent: bool) -> bool:
    """Tell whether nothing asks any more for a repair that has not begun. What a person has asked for stays wanted.

    A test is wanted always: it is what puts a node back into service.
    """
    if not by_agent or repair.dry_run or repair.rung in (Rung.VERIFY, Rung.QUARANTINE) or not repair.condition_ids:
        return False
    return not any(one.id in repair.condition_ids and ladder.asks(one) for one in conditions)


def overdue_at(repair: Repair) -> datetime:
    """Return when a repair that was given to its host is given up."""
    begun = repair.sent_at or repair.ordered_at
    if repair.state is RepairState.PENDING and repair.not_after is not None:
        return repair.not_after + timedelta(seconds=ladder.MARGIN_SECONDS)
    due = begun + timedelta(seconds=ladder.DEADLINE_SECONDS[repair.rung])
    return due if repair.not_after is None else max(due, repair.not_after)


def _last(repair: Repair) -> datetime:
    return repair.ordered_at + timedelta(seconds=LINK_DOWN_MAX_SECONDS)


def extended(repair: Repair, now: datetime) -> datetime:
    """Return until when a repair that goes on may take whose host is back: its link was down for part of its time."""
    return min(now + timedelta(seconds=ladder.DEADLINE_SECONDS[repair.rung]), _last(repair))


def is_out_of_time(repair: Repair, now: datetime) -> bool:
    """Tell whether a host that is back has had all the time that it may win by a link that comes and goes."""
    return now >= _last(repair)


def was_withdrawn(repair: Repair) -> bool:
    """Tell whether a repair ended before its host had begun with it, by no word of the host's: nothing was done."""
    return repair.state is RepairState.REFUSED and repair.ended_at is None


def was_given_up(repair: Repair) -> bool:
    """Tell whether a repair ended without its host saying how: what state the host is in is not known."""
    return repair.state is RepairState.FAILED and repair.ended_at is None


def was_superseded(repair: Repair) -> bool:
    """Tell whether what a repair was for was over before its host had begun with it."""
    return was_withdrawn(repair) and repair.message.startswith(_SUPERSEDED)
