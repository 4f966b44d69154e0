"""What one XID asks for by itself: the vendor's table, the registers of links, whether a memory error was contained."""

from dataclasses import replace
from typing import Final

from node_agent.health.actions import HAND_OVER, INFORM, REBOOT, RESET, WARN, Decision, decide
from node_agent.health.catalogue import decide_entry
from node_agent.health.findings import Finding, bounded
from node_agent.health.host import Host
from node_agent.health.model import Authority, Rung, Scope, Severity
from node_agent.health.nvlink import LinkFault, read_fault, read_link
from node_agent.health.windows import Recent, Times
from node_agent.probe.observations import XidReport

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

MAXIMUM_SEEN: Final = 1024
PARITY_FATAL: Final = 3
"""Workflow of XID 74: parity errors seen more than two times on the same link are a defect."""


class XidFindings:
    """Makes findings of XIDs that are not the consequence of anything."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._seen: Recent[tuple[str, int], float] = Recent(MAXIMUM_SEEN)
        self._parity: Recent[str, Times] = Recent(MAXIMUM_SEEN)

    def finding(self, report: XidReport, gpu: str, now: float) -> Finding:
        """Return what an XID of a GPU, or of one of its links, asks for."""
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
            vendor_action=self.action(report),
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
        code, action = report.code, self.action(report)
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
        if code == DOUBLE_BIT and self.recently(gpu, CONTAINED, now):
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

    def action(self, report: XidReport) -> str:
        """Return the vendor's immediate action in its own word; empty if it names none."""
        if report.nvlink is not None and report.nvlink.vendor_action:
            return bounded(report.nvlink.vendor_action, 64)
        entry = self._host.catalogue.xid(report.code)
        return entry.action if entry is not None else ""

    def _authority(self, report: XidReport) -> Authority:
        """The catalogue decides where it has an action; where it has none, a rule does."""
        return Authority.CATALOGUE if self.action(report) else Authority.RULE

    def recently(self, gpu: str, code: int, now: float) -> bool:
        """Return whether an XID of a GPU was judged by itself so recently that it is part of the same fault."""
        at = self._seen.get((gpu, code))
        return at is not None and now - at <= self._host.rules.containment_seconds

    def note(self, gpu: str, code: int, now: float) -> None:
        """Note that an XID of a GPU was judged by itself."""
        self._seen.set((gpu, code), now)

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
