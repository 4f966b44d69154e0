"""From XIDs to conditions: correlation first, then the vendor's table, then what the driver itself states."""

from dataclasses import dataclass
from typing import Final

from node_agent.health.actions import APPLICATION_ACTIONS
from node_agent.health.applications import Applications
from node_agent.health.findings import Finding, Track
from node_agent.health.host import Host
from node_agent.health.model import Authority, Change, Severity
from node_agent.health.statements import Statements
from node_agent.health.widespread import Widespread
from node_agent.health.windows import Recent
from node_agent.health.xid_findings import (
    CONTAINED,
    DETAILS,
    DOUBLE_BIT,
    FOLLOWERS,
    LOST,
    NVLINK,
    NVLINK_CODES,
    STATED,
    XidFindings,
    lost_finding,
)
from node_agent.probe.observations import StatedAction, XidReport

MAXIMUM_CACHED: Final = 4096
MAXIMUM_TALLIES: Final = 1024
MAXIMUM_ROOTS: Final = 1024
FRESH_SECONDS: Final = 1.0
"""How long a repeat of exactly the same XID is only counted, before it is judged again."""


@dataclass(slots=True)
class Tally:
    """How often an XID came as the consequence of something else."""

    count: int = 0


@dataclass(slots=True)
class _Root:
    """An XID from which later ones may follow."""

    code: int
    condition_id: str
    at: float
    fatal: bool


@dataclass(slots=True)
class _Judged:
    """What became of an XID, for its repeats."""

    at: float
    track: Track | None
    tally: Tally | None


class Xids:
    """Judges XIDs."""

    def __init__(self, host: Host, applications: Applications, statements: Statements) -> None:
        self._host = host
        self._findings = XidFindings(host)
        self._applications = applications
        self._statements = statements
        self._widespread = Widespread(host)
        self._cache: dict[object, _Judged] = {}
        self._roots: Recent[str, _Root] = Recent(MAXIMUM_ROOTS)
        self._tallies: Recent[tuple[str, int], Tally] = Recent(MAXIMUM_TALLIES)
        self._told: Recent[tuple[str, int], float] = Recent(MAXIMUM_ROOTS)

    def consequences(self, gpu: str, code: int) -> int:
        """Return how often an XID of a GPU was taken as the consequence of another fault."""
        tally = self._tallies.get((gpu, code))
        return tally.count if tally else 0

    def forget(self, gpu: str) -> None:
        """Begin anew with a GPU that was repaired."""
        self._widespread.forget(gpu)
        self._roots.pop(gpu)

    def observe(self, report: XidReport, now: float) -> list[Change]:
        """Judge an XID; a repeat within `FRESH_SECONDS` is only counted."""
        detail = report.detail if report.code in (NVLINK, STATED) else report.nvlink
        key = (report.pci_bus_id, report.code, report.pid, detail)
        judged = self._cache.get(key)
        if judged is not None and now - judged.at < FRESH_SECONDS:
            if (track := judged.track) is not None:
                if self._host.book.get(track.finding.id) is track:
                    return self._host.book.again(track, report.line, now)
            elif judged.tally is not None:
                judged.tally.count += 1
                return []
        changes, outcome = self._judge(report, now)
        if len(self._cache) >= MAXIMUM_CACHED:
            self._cache.clear()
        if isinstance(outcome, Tally):
            self._cache[key] = _Judged(now, None, outcome)
        elif (lasting := self._host.book.get(outcome)) is not None:
            self._cache[key] = _Judged(now, lasting, None)
        return changes

    def _judge(self, report: XidReport, now: float) -> tuple[list[Change], Tally | str]:
        host, code = self._host, report.code
        gpu = host.key(report.pci_bus_id)
        self._told.set((gpu, code), now)
        if code == STATED:
            stated = report.stated_action or StatedAction.UNKNOWN
            return self._statements.state(
                gpu, report.pci_bus_id, stated, report.line, now
            ), f"gpu/{gpu}/recovery-action"
        if code == LOST or report.implied:
            return self._lost(report, gpu, now)
        if (lost := host.book.get(f"gpu/{gpu}/lost")) is not None:
            return [], self._follows(lost, gpu, report)
        if (root := self._root_of(report, gpu, now)) is not None:
            track = host.book.get(root.condition_id)
            return [], self._follows(track, gpu, report)
        finding = self._findings.finding(report, gpu, now)
        finding = self._widespread.aligned(self._statements.obeyed(finding, gpu, now))
        self._findings.note(gpu, code, now)
        changes = host.book.see(finding, report.line, now, pid=report.pid)
        if code not in FOLLOWERS:
            self._remember(report, gpu, finding, now)
        if self._is_application(report):
            changes += self._applications.fault(gpu, report.pid, report.process_name, report.line, now)
        if code == CONTAINED:
            changes += self._contain(gpu, report, now)
        if finding.severity is Severity.FATAL:
            changes += self._supersede(gpu, report, finding)
            if code not in NVLINK_CODES:
                changes += self._widespread.note(finding, gpu, report.line, now)
        return changes, finding.id

    # Consequences -------------------------------------------------------------------------------------------------

    def _follows(self, track: Track | None, gpu: str, report: XidReport) -> Tally:
        tally = self._tallies.get((gpu, report.code)) or self._tallies.set((gpu, report.code), Tally())
        tally.count += 1
        if track is not None:
            self._host.book.add_evidence(track, report.line)
        return tally

    def _root_of(self, report: XidReport, gpu: str, now: float) -> _Root | None:
        """Return the fault that this XID follows from, if it does."""
        application = self._is_application(report)
        if report.code not in FOLLOWERS and report.code not in DETAILS and not application:
            return None
        for key in self._keys(report, gpu):
            root = self._roots.get(key)
            if root is None or now - root.at > self._host.rules.consequence_seconds:
                continue
            if report.code in FOLLOWERS or (report.code in DETAILS and root.code == DOUBLE_BIT):
                return root
            if application and root.fatal and key == gpu:
                return root
        return None

    def _remember(self, report: XidReport, gpu: str, finding: Finding, now: float) -> None:
        fatal = finding.severity is Severity.FATAL
        for key in self._keys(report, gpu):
            older = self._roots.get(key)
            recent = older is not None and now - older.at <= self._host.rules.consequence_seconds
            if older is not None and recent and older.fatal and not fatal:
                continue  # the worse fault stays the root of what follows
            self._roots.set(key, _Root(report.code, finding.id, now, fatal))

    def _keys(self, report: XidReport, gpu: str) -> tuple[str, ...]:
        """Return what an XID has in common with those that follow from it: its GPU, its process, its job."""
        keys = [gpu]
        if report.pid is not None:
            keys.append(f"pid {report.pid}")
        if (job := self._host.holders.get(gpu)) is not None:
            keys.append(f"job {job.job_id}")
        return tuple(keys)

    # Findings -----------------------------------------------------------------------------------------------------

    def _lost(self, report: XidReport, gpu: str, now: float) -> tuple[list[Change], str]:
        finding = self._statements.obeyed(lost_finding(self._host, gpu, report.pci_bus_id), gpu, now)
        changes = self._host.book.see(finding, report.line, now)
        self._remember(report, gpu, finding, now)
        changes += self._widespread.note(finding, gpu, report.line, now)
        changes += self._statements.absorb(gpu, report.line.read_at)
        return changes, finding.id

    def _is_application(self, report: XidReport) -> bool:
        return report.code != CONTAINED and self._findings.action(report).upper() in APPLICATION_ACTIONS

    # Correlation --------------------------------------------------------------------------------------------------

    def memory_fault(self, gpu: str, now: float) -> Track | None:
        """Return what lasts of a memory error that an XID told of just now."""
        for code in (DOUBLE_BIT, 95, CONTAINED, 140):
            track = self._host.book.get(f"gpu/{gpu}/xid-{code}")
            if track is not None and self._findings.recently(gpu, code, now):
                return track
        return None

    def told(self, gpu: str, code: int, now: float) -> bool:
        """Return whether the kernel told of this XID within the last moments, in whatever way it was judged."""
        at = self._told.get((gpu, code))
        return at is not None and now - at <= self._host.rules.containment_seconds

    def _contain(self, gpu: str, report: XidReport, now: float) -> list[Change]:
        """Lower the double-bit error that was contained."""
        book, at = self._host.book, report.line.read_at
        changes = book.clear(f"gpu/{gpu}/ecc-uncorrected", at, "XID 94: the error was contained")
        track = book.get(f"gpu/{gpu}/xid-{DOUBLE_BIT}")
        if (
            track is None
            or track.finding.severity is not Severity.FATAL
            or track.finding.authority is Authority.DRIVER
            or not self._findings.recently(gpu, DOUBLE_BIT, now)
        ):
            return changes
        summary = f"{track.finding.summary} (contained: reset when the GPU is free)"
        reason = "XID 94: the error was contained"
        return changes + book.amend(track, at, reason, severity=Severity.WARNING, summary=summary)

    def _supersede(self, gpu: str, report: XidReport, finding: Finding) -> list[Change]:
        """Let an XID stand for what telemetry or the driver said of the same fault before."""
        at, reason = report.line.read_at, f"part of {finding.summary}"
        changes = self._statements.absorb(gpu, at)
        if report.code in (DOUBLE_BIT, 95):
            changes += self._host.book.clear(f"gpu/{gpu}/ecc-uncorrected", at, reason)
        return changes
