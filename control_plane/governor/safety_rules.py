"""Built-in rules that keep the fleet safe, whoever proposes and whatever files say. Pure."""

from typing import Final

from control_plane.fleet.bounds import exceeded
from control_plane.governor.policy.effects import is_destructive
from control_plane.governor.ruling import BLAST_RADIUS, Facts, Ruling, Verdict
from control_plane.model.action import (
    CordonNode,
    PlaceJob,
    PreemptJob,
    QuarantineNode,
    RepairNode,
    RequeueJob,
    RevokeNode,
    StopJob,
)


def kill_switch(facts: Facts) -> Verdict | None:
    """While everything is stopped, nothing happens but what a person in trouble needs."""
    if not facts.kill_switch.engaged:
        return None
    # Taking work or hosts away is what a person in trouble needs; it can only make the fleet quieter.
    if facts.is_person and isinstance(facts.effect, StopJob | CordonNode | RevokeNode | QuarantineNode):
        return Verdict(
            Ruling.ALLOW,
            "KILL_SWITCH",
            "a person may stop jobs, cordon, quarantine and revoke nodes while everything is stopped",
        )
    switch = facts.kill_switch
    return Verdict(
        Ruling.DENY,
        "KILL_SWITCH",
        f"{switch.changed_by} has stopped all effects ({switch.reason or 'no reason given'}); "
        "an admin can release it with: orquanta action resume-all",
    )


def state(facts: Facts) -> Verdict | None:
    """What cannot be carried out as things are is refused."""
    if facts.invalid is None:
        return None
    reason, text = facts.invalid
    return Verdict(Ruling.DENY, reason, text)


def blast_radius(facts: Facts) -> Verdict | None:
    """The level out of service is bounded, whoever asks; only a person's quarantine is always possible."""
    if not facts.levels or (facts.is_person and isinstance(facts.effect, QuarantineNode)):
        return None
    text = exceeded(facts.levels, facts.bounds)
    if text:
        return Verdict(Ruling.DENY, BLAST_RADIUS, f"{text}; wait until one of them is back, or raise the bound")
    told = ", ".join(
        f"{level.out + 1} of {level.total} of {level.scope.value} {level.name}".rstrip() for level in facts.levels
    )
    return Verdict(Ruling.ALLOW, BLAST_RADIUS, f"out of service with this one: {told}")


def preemption(facts: Facts) -> Verdict | None:
    """Only so many attempts make way at once, and none that has just begun."""
    if not isinstance(facts.effect, PreemptJob):
        return None
    if facts.making_way >= facts.limits.preemptions_max:
        return Verdict(
            Ruling.DENY,
            BLAST_RADIUS,
            f"{facts.making_way} attempts are making way for other jobs, and {facts.limits.preemptions_max} may at "
            "once; wait until they have stopped",
        )
    if facts.safe_until is not None and facts.now is not None and facts.now < facts.safe_until:
        left = int((facts.safe_until - facts.now).total_seconds()) + 1
        return Verdict(
            Ruling.DENY,
            "PREEMPTION_TOO_EARLY",
            f"attempt {facts.effect.allocation_id} may not be preempted for {left} s",
        )
    return None


def repair_approval(facts: Facts) -> Verdict | None:
    """Some repairs by agents wait for a person."""
    effect = facts.effect
    if not isinstance(effect, RepairNode) or facts.is_person or effect.dry_run:
        return None
    if effect.rung not in facts.limits.approval_rungs:
        return None
    return Verdict(
        Ruling.REQUIRE_APPROVAL, "REPAIR_APPROVAL", f"an operator must approve: {effect.rung.words} by an agent"
    )


def protected(facts: Facts) -> Verdict | None:
    """A protected node is a person's own affair, and what takes it or its work away is that of two."""
    effect = facts.effect
    # Using a protected node is what it is there for, and what a lost one ran has ended by itself.
    if not facts.protected or isinstance(effect, PlaceJob | RequeueJob):
        return None
    if isinstance(effect, RepairNode) and effect.dry_run:
        return None
    names = ", ".join(facts.protected)
    if not facts.is_person:
        return Verdict(Ruling.DENY, "PROTECTED", f"{names} is protected by its label: only a person may do this")
    if is_destructive(effect):
        return Verdict(
            Ruling.REQUIRE_APPROVAL, "PROTECTED", f"{names} is protected by its label: another operator must approve"
        )
    return Verdict(Ruling.ALLOW, "PROTECTED", f"{names} is protected, and a person asks")


_QUIETING: Final = (StopJob, CordonNode, QuarantineNode, RequeueJob)
"""What can only make the fleet quieter: possible in a freeze. A requeue gives up what is lost; its start is frozen."""


def change_freeze(facts: Facts) -> Verdict | None:
    """In a freeze agents change nothing but to make things quieter; people change what others approve."""
    effect, freeze = facts.effect, facts.frozen
    if freeze is None or isinstance(effect, _QUIETING) or (isinstance(effect, RepairNode) and effect.dry_run):
        return None
    text = f"changes are frozen until {freeze.until:%Y-%m-%d %H:%M UTC} ({freeze.id}: {freeze.reason})"
    if facts.is_person:
        return Verdict(
            Ruling.REQUIRE_APPROVAL, "CHANGE_FREEZE", f"{text}; if it is urgent, another operator can approve it"
        )
    if isinstance(effect, PlaceJob) and facts.let_in:
        return Verdict(Ruling.ALLOW, "CHANGE_FREEZE", f"{text}, but people let this job in since it began")
    return Verdict(Ruling.DENY, "CHANGE_FREEZE", f"{text}; a person can ask for it, if it is urgent")


def taint(facts: Facts) -> Verdict | None:
    """What an agent wants after it has read strangers' words is a person's decision, always."""
    if not facts.tainted or facts.is_person:
        return None
    return Verdict(
        Ruling.REQUIRE_APPROVAL,
        "TAINT",
        "the run that asks for this had read text that strangers wrote, and it was not in its plan before",
    )
