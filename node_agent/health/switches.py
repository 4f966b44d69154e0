"""From SXids of NVSwitches to conditions of their links."""

from typing import Final

from node_agent.health.actions import INFORM, RESET_FABRIC, WARN, Decision
from node_agent.health.catalogue import Entry, decide_entry
from node_agent.health.findings import Finding, Track, bounded
from node_agent.health.host import Host, normalised
from node_agent.health.model import Authority, Change, Rung, Scope, Severity
from node_agent.probe.observations import SxidReport

MAXIMUM_CACHED: Final = 4096
FRESH_SECONDS: Final = 1.0


class Switches:
    """Judges SXids. A switch has no UUID: a repair of it is one of all GPUs of the host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._cache: dict[tuple[str, int, int | None, bool | None], tuple[float, Track]] = {}

    def observe(self, report: SxidReport, now: float) -> list[Change]:
        """Judge an SXid; a repeat within `FRESH_SECONDS` is only counted."""
        key = (report.pci_bus_id, report.code, report.link, report.fatal)
        cached = self._cache.get(key)
        book = self._host.book
        if cached is not None and now - cached[0] < FRESH_SECONDS and book.get(cached[1].finding.id) is cached[1]:
            return book.again(cached[1], report.line, now)
        finding = self._finding(report)
        changes = book.see(finding, report.line, now)
        if (track := book.get(finding.id)) is not None:
            if len(self._cache) >= MAXIMUM_CACHED:
                self._cache.clear()
            self._cache[key] = (now, track)
        return changes

    def _finding(self, report: SxidReport) -> Finding:
        entry = self._host.catalogue.sxid(report.code)
        action = entry.action if entry is not None else ""
        decision = _decide(report.fatal, entry)
        pci = normalised(report.pci_bus_id)
        unit = "switch" if report.link is None else f"nvlink-{report.link}"
        title = f"SXid {report.code}: {entry.meaning}" if entry is not None else f"SXid {report.code}"
        if report.fatal is not None:
            title = f"{title} ({'fatal' if report.fatal else 'not fatal'})"
        rules = self._host.rules
        info = decision.severity is Severity.INFO
        silence = rules.info_clear_seconds if info else rules.warning_clear_seconds
        return Finding(
            id=f"link/{pci}/{unit}/sxid-{report.code}",
            scope=Scope.LINK,
            subject=f"{pci}/{unit}",
            kind="SXID",
            severity=decision.severity,
            summary=bounded(title),
            code=report.code,
            pci_bus_id=report.pci_bus_id,
            repair=decision.rung,
            authority=None if decision.rung is None else Authority.CATALOGUE if action else Authority.RULE,
            vendor_action=action,
            sticky=decision.sticky,
            service=decision.service,
            clear_after_seconds=None if decision.sticky else silence,
            cured_by_boot=decision.rung is not Rung.QUARANTINE,
        )


def _decide(fatal: bool | None, entry: Entry | None) -> Decision:
    """The line itself says whether the error was fatal, which weighs more than the catalogue."""
    decision = decide_entry(entry, RESET_FABRIC)
    if decision.rung in (Rung.RESET_GPU, Rung.REBOOT_HOST) and (entry is None or entry.action != "RESTART_BM"):
        # What the vendor says for a guest is to restart it; for the host, to reset all GPUs and switches.
        decision = RESET_FABRIC
    if fatal is True:
        # After a fatal error the fabric manager has taken the switch down: all GPUs and switches must be reset.
        return decision if decision.severity is Severity.FATAL else RESET_FABRIC
    if fatal is False:
        return INFORM if decision.severity is Severity.INFO else WARN
    return decision
