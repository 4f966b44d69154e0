"""What a rule finds, and what is remembered of it while it lasts."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from node_agent.health.model import MAXIMUM_EVIDENCE, Authority, Condition, Evidence, Rung, Scope, Severity, Source
from node_agent.probe.observations import MAXIMUM_TEXT, KernelLine

MAXIMUM_PROCESSES: Final = 16
"""Process ids that a condition keeps: the newest, as in the contract."""
NVML_SEQUENCE: Final = -1
"""The sequence number of a line that no kernel printed: NVML told of an XID on a host whose log cannot be read."""
MAXIMUM_NAME: Final = 200
"""Characters of a name from outside that becomes part of an id or a subject."""

_FIRST: Final = 2

Sighting = KernelLine | Evidence
"""What was seen. Lines become evidence only when someone looks, so that a storm costs next to nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition as a rule sees it now. The summary must be the same as long as nothing else here changes."""

    id: str
    scope: Scope
    subject: str
    kind: str
    severity: Severity
    summary: str
    code: int = 0
    gpu_uuid: str = ""
    pci_bus_id: str = ""
    repair: Rung | None = None
    authority: Authority | None = None
    vendor_action: str = ""
    sticky: bool = False
    service: str = ""
    clear_after_seconds: float | None = None
    """Silence after which it is over; None for a state that is read, or for what only a repair ends."""
    cured_by_boot: bool = True


@dataclass(slots=True)
class Track:
    """A condition that lasts."""

    finding: Finding
    first_seen_at: datetime
    last_seen_at: datetime
    seen_seconds: float
    """When it was last seen, on the monotonic clock."""
    next_told: int
    """The count at which it is told again."""
    count: int = 1
    first: list[Evidence] = field(default_factory=list)
    recent: deque[Evidence] = field(default_factory=lambda: deque(maxlen=MAXIMUM_EVIDENCE - _FIRST - 1))
    newest: Sighting | None = None
    process_ids: list[int] = field(default_factory=list)
    acknowledged_by: str = ""
    flapping: str = ""
    """How it flaps, for a person; empty if it does not."""

    def note(self, sighting: Sighting) -> None:
        """Keep a sighting as evidence: the first two and the newest, repeats of a text once."""
        if len(self.first) < _FIRST:
            evidence = as_evidence(sighting)
            if all(evidence.text != one.text for one in self.first):
                self.first.append(evidence)
                return
        newest = self.newest
        if newest is not None and newest is not sighting and _text(newest) != _text(sighting):
            self.recent.append(as_evidence(newest))
        self.newest = sighting

    def note_process(self, pid: int | None) -> None:
        """Keep a process id, the newest ones."""
        if pid is None or pid in self.process_ids:
            return
        self.process_ids.append(pid)
        del self.process_ids[:-MAXIMUM_PROCESSES]

    def evidence(self) -> tuple[Evidence, ...]:
        """Return the evidence, oldest first, at most `MAXIMUM_EVIDENCE` pieces with different ids."""
        newest = () if self.newest is None else (as_evidence(self.newest),)
        pieces = {one.id: one for one in (*self.first, *self.recent, *newest)}
        return tuple(pieces.values())

    def condition(self, earlier_repairs: int) -> Condition:
        """Return it as the rest of the daemon sees it."""
        finding, repair = self.finding, self.finding.repair
        if self.flapping:
            # Repairing what comes and goes again and again would never end: a person decides.
            repair = Rung.QUARANTINE if finding.severity is Severity.FATAL and repair is not None else None
        if self.acknowledged_by:
            repair = None
        rule = Authority.RULE if self.flapping else finding.authority
        return Condition(
            id=finding.id,
            scope=finding.scope,
            subject=finding.subject,
            kind=finding.kind,
            severity=finding.severity,
            summary=f"{finding.summary}; {self.flapping}" if self.flapping else finding.summary,
            first_seen_at=self.first_seen_at,
            last_seen_at=self.last_seen_at,
            count=self.count,
            code=finding.code,
            gpu_uuid=finding.gpu_uuid,
            pci_bus_id=finding.pci_bus_id,
            repair=repair,
            authority=None if repair is None else rule,
            vendor_action=finding.vendor_action,
            sticky=finding.sticky or bool(self.flapping),
            evidence=self.evidence(),
            acknowledged_by=self.acknowledged_by,
            process_ids=tuple(self.process_ids),
            service=finding.service,
            earlier_repairs=earlier_repairs,
        )


def seen_at(sighting: Sighting) -> datetime:
    """Return when it was seen."""
    return sighting.read_at if isinstance(sighting, KernelLine) else sighting.observed_at


def as_evidence(sighting: Sighting) -> Evidence:
    """Return a sighting as evidence with a bounded, printable text."""
    if isinstance(sighting, Evidence):
        return sighting
    stamp = int(sighting.read_at.timestamp() * 1000)
    if sighting.sequence == NVML_SEQUENCE:
        return evidence(Source.NVML, sighting.text, sighting.text, sighting.read_at)
    return Evidence(f"kmsg-{sighting.sequence}-{stamp}", Source.KERNEL, bounded(sighting.text), sighting.read_at)


def evidence(source: Source, topic: str, text: str, at: datetime) -> Evidence:
    """Return evidence that is not a line of the kernel; `topic` makes its id unique among those of one moment."""
    return Evidence(
        f"{source.value}-{int(at.timestamp() * 1000)}-{bounded(topic, MAXIMUM_NAME)}", source, bounded(text), at
    )


def bounded(text: str, limit: int = MAXIMUM_TEXT) -> str:
    """Return text from outside, printable and at most `limit` characters."""
    text = text[:limit]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def name(text: str) -> str:
    """Return a name from outside that may become part of an id."""
    return bounded(text, MAXIMUM_NAME)


def _text(sighting: Sighting) -> str:
    return sighting.text
