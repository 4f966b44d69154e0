"""The conditions that last, and each change of them that matters, so that replaying the changes gives the same."""

import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from node_agent.health.findings import Finding, Sighting, Track, evidence, seen_at
from node_agent.health.model import (
    MAXIMUM_CONDITIONS,
    Authority,
    Change,
    ChangeKind,
    Condition,
    Scope,
    Severity,
    Source,
)
from node_agent.health.rules import HealthRules

OVERFLOW_ID: Final = "host/conditions"
MAXIMUM_REMEMBERED: Final = 1000
"""Conditions whose earlier raises are remembered, to tell flapping."""


class Book:
    """Holds the conditions of one host, at most `MAXIMUM_CONDITIONS`."""

    def __init__(self, rules: HealthRules, earlier_repairs: Callable[[str], int]) -> None:
        self._rules = rules
        self._earlier_repairs = earlier_repairs
        self._tracks: dict[str, Track] = {}
        self._of_gpu: dict[str, set[str]] = {}
        self._by_severity = dict.fromkeys(Severity, 0)
        self._raises: OrderedDict[str, deque[float]] = OrderedDict()

    # Reading --------------------------------------------------------------------------------------------------------

    def __contains__(self, condition_id: str) -> bool:
        return condition_id in self._tracks

    def get(self, condition_id: str) -> Track | None:
        """Return what lasts under this id."""
        return self._tracks.get(condition_id)

    def tracks(self) -> Iterable[Track]:
        """Return everything that lasts, in the order in which it came."""
        return self._tracks.values()

    def of_gpu(self, gpu: str) -> list[Track]:
        """Return what lasts of one GPU or its links, by UUID or by `pci-...` where the UUID is not known."""
        return [self._tracks[condition_id] for condition_id in sorted(self._of_gpu.get(gpu, ()))]

    def condition(self, track: Track) -> Condition:
        """Return a condition as others see it."""
        return track.condition(self._earlier_repairs(track.finding.gpu_uuid))

    def conditions(self) -> tuple[Condition, ...]:
        """Return all, worst first, then the oldest."""
        found = [self.condition(track) for track in self._tracks.values()]
        found.sort(key=lambda one: (-one.severity, one.first_seen_at, one.id))
        return tuple(found)

    # Raising and changing -------------------------------------------------------------------------------------------

    def see(self, finding: Finding, sighting: Sighting, now: float, *, pid: int | None = None) -> list[Change]:
        """Raise a condition, or count it once more and take over what is worse or different about it."""
        track = self._tracks.get(finding.id)
        if track is None:
            return self._raise(finding, sighting, now, pid)
        track.count += 1
        track.seen_seconds = now
        track.last_seen_at = max(track.last_seen_at, seen_at(sighting))
        track.note(sighting)
        track.note_process(pid)
        merged = _merged(track.finding, finding)
        if merged is not track.finding:
            self._replace(track, merged)
            return [self._change(ChangeKind.CHANGED, track, seen_at(sighting), merged.summary)]
        return self._told(track, seen_at(sighting))

    def again(self, track: Track, sighting: Sighting, now: float) -> list[Change]:
        """Count the same thing once more; cheap, for storms. The track must be one that lasts."""
        track.count = count = track.count + 1
        track.seen_seconds = now
        track.newest = sighting
        at = seen_at(sighting)
        track.last_seen_at = max(track.last_seen_at, at)
        return self._told(track, at) if count >= track.next_told else []

    def keep(self, condition_id: str, at: datetime, now: float) -> None:
        """Say that a state that was raised goes on."""
        if (track := self._tracks.get(condition_id)) is not None:
            track.seen_seconds = now
            track.last_seen_at = max(track.last_seen_at, at)

    def add_evidence(self, track: Track, sighting: Sighting) -> None:
        """Keep something that follows from a condition with it, without an event."""
        track.note(sighting)

    def tell(self, track: Track, at: datetime, reason: str) -> list[Change]:
        """Say something about a condition that is worth an event though nothing of it changed."""
        return [self._change(ChangeKind.CHANGED, track, at, reason)]

    # Any: the fields of Finding, which mypy checks nowhere better than in `replace`.
    def amend(self, track: Track, at: datetime, reason: str, **fields: Any) -> list[Change]:
        """Change a condition for a reason that another observation gave; nothing if it says the same already."""
        amended = replace(track.finding, **fields)
        if amended == track.finding:
            return []
        self._replace(track, amended)
        return [self._change(ChangeKind.CHANGED, track, at, reason)]

    def acknowledge(self, condition_id: str, by: str, at: datetime) -> list[Change]:
        """Note who acknowledged a condition; it proposes no repair from then on, until it clears."""
        track = self._tracks.get(condition_id)
        if track is None or not by or track.acknowledged_by == by:
            return []
        track.acknowledged_by = by
        return [self._change(ChangeKind.CHANGED, track, at, f"acknowledged by {by}")]

    # Clearing -------------------------------------------------------------------------------------------------------

    def clear(self, condition_id: str, at: datetime, reason: str, *, forgive: bool = False) -> list[Change]:
        """End a condition. With `forgive`, its earlier raises are forgotten too. Nothing if it does not last."""
        if forgive:
            self._raises.pop(condition_id, None)
        track = self._tracks.pop(condition_id, None)
        if track is None:
            return []
        finding = track.finding
        self._by_severity[finding.severity] -= 1
        if gpu := _gpu_key(finding):
            members = self._of_gpu[gpu]
            members.discard(condition_id)
            if not members:
                del self._of_gpu[gpu]
        return [self._change(ChangeKind.CLEARED, track, at, reason)]

    def silence(self, at: datetime, now: float) -> list[Change]:
        """Clear what has been silent for long enough."""
        over = [
            (track.finding.id, track.finding.clear_after_seconds)
            for track in self._tracks.values()
            if track.finding.clear_after_seconds is not None
            and not track.finding.sticky
            and not track.flapping
            and now - track.seen_seconds >= track.finding.clear_after_seconds
        ]
        changes: list[Change] = []
        for condition_id, seconds in over:
            changes += self.clear(condition_id, at, f"not seen for {seconds:.0f} s")
        return changes

    # Restoring ------------------------------------------------------------------------------------------------------

    def restore(self, track: Track) -> None:
        """Take over a condition that lasted when the daemon stopped, without an event."""
        if track.finding.id not in self._tracks and len(self._tracks) < MAXIMUM_CONDITIONS:
            self._add(track)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _raise(self, finding: Finding, sighting: Sighting, now: float, pid: int | None) -> list[Change]:
        at = seen_at(sighting)
        changes: list[Change] = []
        if len(self._tracks) >= MAXIMUM_CONDITIONS - 1 and finding.id != OVERFLOW_ID:
            made_room, changes = self._make_room(finding, at, now)
            if not made_room:
                return changes
        track = Track(
            finding=finding,
            first_seen_at=at,
            last_seen_at=at,
            seen_seconds=now,
            next_told=self._rules.told_factor,
            flapping=self._flaps(finding, now),
        )
        track.note(sighting)
        track.note_process(pid)
        self._add(track)
        return [*changes, self._change(ChangeKind.RAISED, track, at, finding.summary)]

    def _make_room(self, finding: Finding, at: datetime, now: float) -> tuple[bool, list[Change]]:
        overflow = Finding(
            id=OVERFLOW_ID,
            scope=Scope.HOST,
            subject="",
            kind="CONDITIONS_DROPPED",
            severity=Severity.WARNING,
            summary=f"More than {MAXIMUM_CONDITIONS} conditions: the least severe are not kept",
            clear_after_seconds=self._rules.warning_clear_seconds,
        )
        text = f"not kept: {finding.summary}"
        changes = self.see(overflow, evidence(Source.DAEMON, "conditions", text, at), now)
        lower = [s for s in Severity if s < finding.severity and self._by_severity[s] > (s is Severity.WARNING)]
        if not lower:
            return False, changes
        victims = (t for t in self._tracks.values() if t.finding.severity == lower[0] and t.finding.id != OVERFLOW_ID)
        victim = min(victims, key=lambda track: track.first_seen_at)
        return True, changes + self.clear(victim.finding.id, at, "not kept: there are too many conditions")

    def _flaps(self, finding: Finding, now: float) -> str:
        """Note the raise; return how the condition flaps, or nothing."""
        if finding.sticky or finding.severity is Severity.INFO or finding.id == OVERFLOW_ID:
            return ""
        rules = self._rules
        raises = self._raises.get(finding.id)
        if raises is None:
            raises = self._raises[finding.id] = deque(maxlen=rules.flap_raises + 1)
            if len(self._raises) > MAXIMUM_REMEMBERED:
                self._raises.popitem(last=False)
        self._raises.move_to_end(finding.id)
        raises.append(now)
        if len(raises) <= rules.flap_raises or now - raises[0] > rules.flap_window_seconds:
            return ""
        minutes = rules.flap_window_seconds / 60
        return f"flaps: raised {len(raises)} times within {minutes:.0f} minutes, stays until repaired"

    def _add(self, track: Track) -> None:
        finding = track.finding
        self._tracks[finding.id] = track
        self._by_severity[finding.severity] += 1
        if gpu := _gpu_key(finding):
            self._of_gpu.setdefault(gpu, set()).add(finding.id)

    def _replace(self, track: Track, finding: Finding) -> None:
        self._by_severity[track.finding.severity] -= 1
        self._by_severity[finding.severity] += 1
        track.finding = finding

    def _told(self, track: Track, at: datetime) -> list[Change]:
        if track.count < track.next_told:
            return []
        while track.count >= track.next_told:
            track.next_told *= self._rules.told_factor
        return [self._change(ChangeKind.CHANGED, track, at, f"seen {track.count} times")]

    def _change(self, kind: ChangeKind, track: Track, at: datetime, reason: str) -> Change:
        return Change(id=str(uuid.uuid4()), kind=kind, condition=self.condition(track), occurred_at=at, reason=reason)


def _gpu_key(finding: Finding) -> str:
    if finding.gpu_uuid:
        return finding.gpu_uuid
    return f"pci-{finding.pci_bus_id}" if finding.scope is not Scope.HOST and finding.pci_bus_id else ""


def _merged(current: Finding, seen: Finding) -> Finding:
    """Return the finding to go on with: `current` itself if nothing that matters is different or worse."""
    if seen is current or (seen.severity < current.severity and current.sticky):
        return current
    if current.authority is Authority.DRIVER and current.repair is not None and seen.authority is not Authority.DRIVER:
        seen = replace(
            seen, repair=current.repair, authority=Authority.DRIVER, severity=max(current.severity, seen.severity)
        )
    if _matters(current) == _matters(seen):
        return current
    return seen


def _matters(finding: Finding) -> tuple[object, ...]:
    return (finding.severity, finding.repair, finding.authority, finding.vendor_action, finding.sticky, finding.service)
