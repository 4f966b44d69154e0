"""From XIDs to conditions: correlation first, then the vendor's table, then what the driver itself states."""

from dataclasses import dataclass, replace
from typing import Final

from node_agent.health.actions import APPLICATION_ACTIONS, HAND_OVER, INFORM, REBOOT, RESET, WARN, Decision, decide
from node_agent.health.applications import Applications
from node_agent.health.catalogue import decide_entry
from node_agent.health.findings import Finding, Track, bounded
from node_agent.health.host import Host
from node_agent.health.model import Authority, Change, Rung, Scope, Severity
from node_agent.health.nvlink import LinkFault, read_fault, read_link
from node_agent.health.statements import Statements
from node_agent.health.widespread import Widespread
from node_agent.health.windows import Recent, Times
from node_agent.probe.observations import StatedAction, XidReport

DOUBLE_BIT: Final = 48
NVLINK: Final = 74
LOST: Final = 79
CONTAINED: Final = 94
STATED: Final = 154
DETAILS: Final = frozenset({171, 172})
"""Printed with XID 48, to say where the memory error was."""
FOLLOWERS: Final = frozenset({43, 45})
"""Printed when an application is torn down, for whatever reason."""
DECODED: Final = frozenset({144, 145, 146, 147, 148, 149, 150})
"""Their action depends on codes in the line."""
NVLINK_CODES: Final = frozenset({NVLINK, 136, 144, 145, 146, 147, 148, 149, 150, 155})

MAXIMUM_CACHED: Final = 4096
MAXIMUM_TALLIES: Final = 1024
MAXIMUM_ROOTS: Final = 1024
FRESH_SECONDS: Final = 1.0
"""How long a repeat of exactly the same XID is only counted, before it is judged again."""
PARITY_FATAL: Final = 3
"""Workflow of XID 74: parity errors seen more than two times on the same link are a defect."""


@dataclass(slots=True)
class Tally:
    """How often an XID came as the consequence of something else."""

    count: int = 0


@dataclass(slots=True)
class _Root:
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
        self._applications = applications
        self._statements = statements
        self._widespread = Widespread(host)
        self._cache: dict[object, _Judged] = {}
        self._roots: Recent[str, _Root] = Recent(MAXIMUM_ROOTS)
        self._tallies: Recent[tuple[str, int], Tally] = Recent(MAXIMUM_TALLIES)
        self._seen: Recent[tuple[str, int], float] = Recent(MAXIMUM_ROOTS)
        self._told: Recent[tuple[str, int], float] = Recent(MAXIMUM_ROOTS)
        self._parity: Recent[str, Times] = Recent(MAXIMUM_ROOTS)

    def consequences(self, gpu: str, code: int) -> int:
        """Return how often an XID of a GPU was taken as the consequence of another fault."""
        tally = self._tallies.get((gpu, code))
        return tally.count if tally else 0

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
        finding = self._finding(report, gpu, now)
        finding = self._widespread.aligned(self._statements.obeyed(finding, gpu, now))
        self._seen.set((gpu, code), now)
        changes = host.book.see(finding, report.line, now, pid=report.pid)
        if code not in FOLLOWERS:
            self._remember(report, gpu, finding, now)
        if self._is_application(report, finding):
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
        application = decide(self._action(report)) is INFORM and self._action(report).upper() in APPLICATION_ACTIONS
        if report.code not in FOLLOWERS and report.code not in DETAILS and not application:
            return None
        if report.code == CONTAINED:
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

    def _finding(self, report: XidReport, gpu: str, now: float) -> Finding:
        code = report.code
        entry = self._host.catalogue.xid(code)
        link = report.nvlink.link if report.nvlink is not None else read_link(report.detail) if code == NVLINK else None
        if link is not None and link < 0:
            link = None
        place = f"gpu/{gpu}" if link is None else f"link/{gpu}/nvlink-{link}"
        decision, remark = self._decide(report, gpu, place, now)
        title = (
            f"XID {code}: {entry.meaning}" if entry is not None else f"XID {code}, which the catalogue does not have"
        )
        known = gpu in self._host.gpus
        if not known and decision.rung is not None:
            # A repair of no GPU in particular would be one of all GPUs.
            decision, remark = WARN, "of a GPU that is not in the inventory"
        rules = self._host.rules
        info = decision.severity is Severity.INFO
        return Finding(
            id=f"{place}/xid-{code}",
            scope=Scope.GPU if link is None else Scope.LINK,
            subject=gpu if link is None else f"{gpu}/nvlink-{link}",
            kind="XID",
            severity=decision.severity,
            summary=bounded(f"{title} ({remark})" if remark else title),
            code=code,
            gpu_uuid=gpu if known and not decision.whole_host else "",
            pci_bus_id=report.pci_bus_id,
            repair=decision.rung,
            authority=None if decision.rung is None else self._authority(report),
            vendor_action=self._action(report),
            sticky=decision.sticky,
            service=decision.service,
            clear_after_seconds=None
            if decision.sticky
            else rules.info_clear_seconds
            if info
            else rules.warning_clear_seconds,
            cured_by_boot=decision.rung is not Rung.QUARANTINE,
        )

    def _decide(self, report: XidReport, gpu: str, place: str, now: float) -> tuple[Decision, str]:
        """Return the decision and a remark for a person."""
        code, action = report.code, self._action(report)
        decision = decide(action) if report.nvlink is not None else self._decision(code)
        if code in NVLINK_CODES and self._peer_lost(gpu):
            return WARN, "another GPU of this host is lost, which takes its links down"
        if code == NVLINK:
            return self._decide_link(report, place, now)
        if code in DECODED and report.nvlink is None:
            return WARN, "the line cannot be decoded"
        if report.nvlink is not None and not report.nvlink.vendor_action:
            fatal = "nonfatal" not in report.nvlink.severity.replace("-", "").lower()
            return (RESET, "the vendor's table does not have this status") if fatal else (WARN, "printed as not fatal")
        if code == DOUBLE_BIT and self._recently(gpu, CONTAINED, now):
            return _contained(decision), "contained: reset when the GPU is free"
        if code == CONTAINED:
            return WARN, "the application that met it must be restarted"
        if action.upper() == "CHECK_UVM" and gpu not in self._host.holders and report.pid is None:
            return INFORM, "nothing computes on the GPU"
        return decision, ""

    def _decide_link(self, report: XidReport, place: str, now: float) -> tuple[Decision, str]:
        match read_fault(report.detail):
            case LinkFault.HARMLESS:
                return INFORM, "registers that may be ignored"
            case LinkFault.SECONDARY:
                return WARN, "registers of a secondary error"
            case LinkFault.SIGNAL:
                return WARN, "a marginal signal: check the connections of the link"
            case LinkFault.PARITY:
                times = self._parity.get(place) or self._parity.set(place, Times(PARITY_FATAL))
                if times.add(now, self._host.rules.lemon_window_seconds) >= PARITY_FATAL:
                    return HAND_OVER, "parity errors again and again on this link"
                return WARN, "a parity error"
            case LinkFault.LINK | LinkFault.UNKNOWN:
                return self._decision(report.code), ""

    def _decision(self, code: int) -> Decision:
        return decide_entry(self._host.catalogue.xid(code), RESET)

    def _action(self, report: XidReport) -> str:
        if report.nvlink is not None and report.nvlink.vendor_action:
            return bounded(report.nvlink.vendor_action, 64)
        entry = self._host.catalogue.xid(report.code)
        return entry.action if entry is not None else ""

    def _authority(self, report: XidReport) -> Authority:
        """The catalogue decides where it has an action; where it has none, a rule does."""
        return Authority.CATALOGUE if self._action(report) else Authority.RULE

    def _is_application(self, report: XidReport, finding: Finding) -> bool:
        return (
            report.code != CONTAINED
            and finding.severity is Severity.INFO
            and finding.vendor_action.upper() in APPLICATION_ACTIONS
        )

    # Correlation --------------------------------------------------------------------------------------------------

    def _recently(self, gpu: str, code: int, now: float) -> bool:
        at = self._seen.get((gpu, code))
        return at is not None and now - at <= self._host.rules.containment_seconds

    def memory_fault(self, gpu: str, now: float) -> Track | None:
        """Return what lasts of a memory error that an XID told of just now."""
        for code in (DOUBLE_BIT, 95, CONTAINED, 140):
            track = self._host.book.get(f"gpu/{gpu}/xid-{code}")
            if track is not None and self._recently(gpu, code, now):
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
        if track is None or track.finding.severity is not Severity.FATAL or not self._recently(gpu, DOUBLE_BIT, now):
            return changes
        if track.finding.authority is Authority.DRIVER:
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

    def _peer_lost(self, gpu: str) -> bool:
        book = self._host.book
        return any(f"gpu/{other}/lost" in book for other in self._host.gpus if other != gpu)


def lost_finding(host: Host, gpu: str, pci_bus_id: str) -> Finding:
    """Return the one condition of a lost GPU, however it was found out."""
    entry = host.catalogue.xid(LOST)
    action = entry.action if entry is not None else "RESTART_BM"
    decision, authority, summary = (
        decide_entry(entry, REBOOT),
        Authority.CATALOGUE,
        "The GPU is lost: it does not answer on its bus",
    )
    known = gpu in host.gpus
    if gpu in host.lost_before_boot:
        decision, authority = HAND_OVER, Authority.RULE
        summary = "The GPU is lost, and a reboot did not bring it back"
    elif not known:
        decision, summary = (
            Decision(Severity.WARNING, sticky=True),
            f"{summary} (of a GPU that is not in the inventory)",
        )
    return Finding(
        id=f"gpu/{gpu}/lost",
        scope=Scope.GPU,
        subject=gpu,
        kind="GPU_LOST",
        severity=decision.severity,
        summary=summary,
        code=LOST,
        gpu_uuid=gpu if known else "",
        pci_bus_id=pci_bus_id,
        repair=decision.rung,
        authority=None if decision.rung is None else authority,
        vendor_action=action,
        sticky=True,
    )


def _contained(decision: Decision) -> Decision:
    return replace(decision, severity=Severity.WARNING)
