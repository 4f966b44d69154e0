"""What else the kernel reports, and probes that hang: signs of trouble with the host or the driver as a whole."""

from dataclasses import replace
from typing import Final

from node_agent.health.findings import Finding, Sighting, evidence, name
from node_agent.health.host import Host, normalised
from node_agent.health.model import Authority, Change, Rung, Scope, Severity, Source
from node_agent.health.states import Place, State, States
from node_agent.health.windows import Recent, Times
from node_agent.probe.observations import KernelFault, KernelFaultReport, KernelLoss, ProbeStall

MAXIMUM_SUBJECTS: Final = 512
"""Devices and probes whose recent faults are remembered."""

STALLED: Final = "host/probe/{}/stalled"
HUNG: Final = "host/driver/hung"


class KernelFaults:
    """Judges faults that are not XIDs."""

    def __init__(self, host: Host, states: States) -> None:
        self._host = host
        self._states = states
        self._times: Recent[str, Times] = Recent(MAXIMUM_SUBJECTS)

    def observe(self, report: KernelFaultReport, now: float) -> list[Change]:
        """Judge one fault."""
        match report.fault:
            case KernelFault.OOM_KILL:
                return self._see(
                    "oom-kill", "OOM_KILL", Severity.INFO, "The kernel killed a process for memory", report, now
                )
            case KernelFault.HUNG_TASK:
                return self._hung_task(report, now)
            case KernelFault.EDAC:
                return self._memory(report, now)
            case KernelFault.PCIE_AER:
                return self._pcie(report, now)
            case KernelFault.NVME:
                slug = f"nvme/{name(report.subject)}"
                return self._see(slug, "NVME", Severity.WARNING, "A disk reports errors", report, now)
            case KernelFault.FILESYSTEM:
                slug = f"filesystem/{name(report.subject)}"
                return self._see(slug, "FILESYSTEM", Severity.WARNING, "A file system reports errors", report, now)

    def lost_lines(self, loss: KernelLoss, now: float) -> list[Change]:
        """Say that lines of the kernel log were lost."""
        finding = self._finding("kernel-log", "KERNEL_LOG_LOST", Severity.INFO, "Lines of the kernel log were lost")
        text = f"{loss.lines} lines were overwritten before they could be read"
        return self._host.book.see(finding, evidence(Source.DAEMON, "kernel-log", text, loss.read_at), now)

    # Parts ----------------------------------------------------------------------------------------------------------

    def _hung_task(self, report: KernelFaultReport, now: float) -> list[Change]:
        if not report.in_nvidia:
            summary = "A task hangs in the kernel"
            return self._see("hung-task", "HUNG_TASK", Severity.WARNING, summary, report, now, pid=report.pid)
        rules = self._host.rules
        hangs = self._count("hung-task", rules.hung_tasks_fatal, rules.hung_task_window_seconds, now)
        return self._hung(report.line, now, report.pid, certain=hangs >= rules.hung_tasks_fatal)

    def _hung(self, sighting: Sighting, now: float, pid: int | None, *, certain: bool) -> list[Change]:
        """Raise the hung driver: certain by repetition, or by tasks and NVML hanging at once."""
        stalled = STALLED.format("nvml") in self._host.book
        fatal = certain or stalled
        # With NVML hanging too, the module cannot be unloaded: whoever hangs in it holds it.
        rung = Rung.REBOOT_HOST if stalled else Rung.RELOAD_DRIVER
        finding = Finding(
            id=HUNG,
            scope=Scope.HOST,
            subject="driver",
            kind="DRIVER_HUNG",
            severity=Severity.FATAL if fatal else Severity.WARNING,
            summary="Tasks hang in the NVIDIA driver",
            repair=rung if fatal else None,
            authority=Authority.RULE if fatal else None,
            sticky=fatal,
            clear_after_seconds=None if fatal else self._host.rules.warning_clear_seconds,
        )
        return self._host.book.see(finding, sighting, now, pid=pid)

    def _memory(self, report: KernelFaultReport, now: float) -> list[Change]:
        rules, subject = self._host.rules, name(report.subject) or "memory"
        slug = f"edac/{subject}"
        if report.corrected:
            many = (
                self._count(slug, rules.corrected_warning, rules.corrected_window_seconds, now)
                >= rules.corrected_warning
            )
            summary = (
                "Memory of the host has many corrected errors" if many else "Memory of the host had a corrected error"
            )
            return self._see(slug, "EDAC_CORRECTED", Severity.WARNING if many else Severity.INFO, summary, report, now)
        slug = f"{slug}/uncorrected"
        errors = self._count(slug, rules.uncorrected_fatal, rules.uncorrected_window_seconds, now)
        finding = self._finding(
            slug, "EDAC_UNCORRECTED", Severity.WARNING, "Memory of the host has uncorrected errors", subject=subject
        )
        if errors >= rules.uncorrected_fatal:
            finding = replace(
                finding,
                severity=Severity.FATAL,
                repair=Rung.QUARANTINE,
                authority=Authority.RULE,
                cured_by_boot=False,
            )
        finding = replace(finding, sticky=True, clear_after_seconds=None)
        return self._host.book.see(finding, report.line, now)

    def _pcie(self, report: KernelFaultReport, now: float) -> list[Change]:
        rules, pci = self._host.rules, normalised(report.subject)
        gpu = self._host.gpu_at(pci)
        if gpu and (lost := self._host.book.get(f"gpu/{gpu}/lost")) is not None:
            self._host.book.add_evidence(lost, report.line)
            return []
        slug = f"pcie/{pci}"
        if report.corrected:
            many = (
                self._count(slug, rules.corrected_warning, rules.corrected_window_seconds, now)
                >= rules.corrected_warning
            )
            summary = "Many corrected PCIe errors" if many else "A corrected PCIe error"
            severity = Severity.WARNING if many else Severity.INFO
            return self._see(slug, "PCIE_AER_CORRECTED", severity, summary, report, now, gpu=gpu)
        summary = "An uncorrected PCIe error"
        return self._see(f"{slug}/uncorrected", "PCIE_AER", Severity.WARNING, summary, report, now, gpu=gpu)

    # Probes that hang -----------------------------------------------------------------------------------------------

    def stall(self, stall: ProbeStall, now: float) -> list[Change]:
        """Judge a probe that hung and was killed, or that answers again."""
        probe, rules = name(stall.probe), self._host.rules
        nvml = probe == "nvml"
        stalls = 0
        if not stall.ended:
            stalls = self._count(f"stall {probe}", rules.stalls_fatal, rules.stall_window_seconds, now)
        certain = stalls >= rules.stalls_fatal
        state = State(
            "stalled",
            "PROBE_STALLED",
            Severity.FATAL if certain and nvml else Severity.WARNING,
            f"The probe of {probe} hangs again and again" if certain else f"The probe of {probe} hung and was killed",
            Rung.RELOAD_DRIVER if certain and nvml else None,
        )
        place = Place(f"host/probe/{probe}", Scope.HOST, probe)
        text = f"no answer for {stall.seconds:.1f} s"
        text = f"{text} in {stall.doing}" if stall.doing else text
        track = self._host.book.get(f"{place.prefix}/stalled")
        if track is not None and not stall.ended and track.finding.severity >= state.severity:
            return self._host.book.see(track.finding, evidence(Source.DAEMON, probe, text, stall.observed_at), now)
        changes = self._states.read(
            place,
            state,
            rules.stall,
            bad=not stall.ended,
            text=text,
            source=Source.DAEMON,
            at=stall.observed_at,
            now=now,
        )
        if nvml and not stall.ended and HUNG in self._host.book:
            changes += self._hung(evidence(Source.DAEMON, probe, text, stall.observed_at), now, None, certain=certain)
        return changes

    # Inside ---------------------------------------------------------------------------------------------------------

    def _count(self, key: str, limit: int, window_seconds: float, now: float) -> int:
        times = self._times.get(key) or Times(limit)
        return self._times.set(key, times).add(now, window_seconds)

    def _see(
        self,
        slug: str,
        kind: str,
        severity: Severity,
        summary: str,
        report: KernelFaultReport,
        now: float,
        *,
        pid: int | None = None,
        gpu: str = "",
    ) -> list[Change]:
        finding = self._finding(slug, kind, severity, summary, subject=name(report.subject))
        if gpu:
            pci = normalised(report.subject)
            finding = replace(
                finding, id=f"gpu/{gpu}/{slug}", scope=Scope.GPU, subject=gpu, gpu_uuid=gpu, pci_bus_id=pci
            )
        return self._host.book.see(finding, report.line, now, pid=pid)

    def _finding(self, slug: str, kind: str, severity: Severity, summary: str, *, subject: str = "") -> Finding:
        rules = self._host.rules
        info = severity is Severity.INFO
        return Finding(
            id=f"host/{slug}",
            scope=Scope.HOST,
            subject=subject,
            kind=kind,
            severity=severity,
            summary=summary,
            clear_after_seconds=rules.info_clear_seconds if info else rules.warning_clear_seconds,
        )
