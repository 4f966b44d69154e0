"""Conditions that are states: read again and again, raised and cleared with hysteresis."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from node_agent.health.findings import Finding, evidence
from node_agent.health.host import Host
from node_agent.health.model import Authority, Change, Rung, Scope, Severity, Source
from node_agent.health.rules import Hold
from node_agent.health.windows import Levels

MAXIMUM_STATES: Final = 4096
"""States in motion at once: 256 GPUs with 16 each."""


@dataclass(frozen=True, slots=True)
class State:
    """One thing that can be wrong for a while."""

    slug: str
    kind: str
    severity: Severity
    summary: str
    repair: Rung | None = None
    sticky: bool = False
    service: str = ""
    cured_by_boot: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """What a state is of. `prefix` begins the condition's id, such as `gpu/GPU-1234`."""

    prefix: str
    scope: Scope
    subject: str
    gpu_uuid: str = ""
    pci_bus_id: str = ""


class States:
    """Raises and clears states."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._levels = Levels(MAXIMUM_STATES)

    def read(
        self,
        place: Place,
        state: State,
        hold: Hold,
        *,
        bad: bool,
        text: str,
        source: Source,
        at: datetime,
        now: float,
    ) -> list[Change]:
        """Take over one reading. `text` says with figures why it is bad; it is not used while it is good."""
        book = self._host.book
        condition_id = f"{place.prefix}/{state.slug}"
        lasts = condition_id in book
        should_last = self._levels.should_last(condition_id, bad=bad, lasts=lasts, now=now, hold=hold)
        if should_last:
            if lasts and not self._differs(condition_id, state):
                if bad:
                    book.keep(condition_id, at, now)
                return []
            if not bad:
                return []
            return book.see(finding(place, state), evidence(source, condition_id, text, at), now)
        if not lasts or state.sticky or self._stays(condition_id):
            return []
        return book.clear(condition_id, at, f"good for {hold.clear_after_seconds:.0f} s")

    def bad_for(self, place: Place, state: State, now: float) -> float:
        """Return for how many seconds a state has been bad without a break."""
        return self._levels.bad_for(f"{place.prefix}/{state.slug}", now)

    def forget(self, condition_id: str) -> None:
        """Begin anew with the next reading, after the condition was cleared from outside."""
        self._levels.forget(condition_id)

    def _differs(self, condition_id: str, state: State) -> bool:
        track = self._host.book.get(condition_id)
        if track is None:
            return False
        if track.finding.sticky:  # what a driver's statement made of it is not lowered by a reading
            return state.severity > track.finding.severity
        return track.finding.severity is not state.severity

    def _stays(self, condition_id: str) -> bool:
        track = self._host.book.get(condition_id)
        return track is not None and (track.finding.sticky or bool(track.flapping))


def finding(place: Place, state: State) -> Finding:
    """Return the finding of a state."""
    return Finding(
        id=f"{place.prefix}/{state.slug}",
        scope=place.scope,
        subject=place.subject,
        kind=state.kind,
        severity=state.severity,
        summary=state.summary,
        gpu_uuid=place.gpu_uuid,
        pci_bus_id=place.pci_bus_id,
        repair=state.repair,
        authority=None if state.repair is None else Authority.RULE,
        sticky=state.sticky,
        service=state.service,
        cured_by_boot=state.cured_by_boot,
    )
