"""From reports on the host's disks, services, ports, clock and the operator's own checks to conditions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from node_agent.health.findings import name
from node_agent.health.host import Host
from node_agent.health.model import Change, Rung, Scope, Severity, Source
from node_agent.health.rules import Hold
from node_agent.health.states import Place, State, States
from node_agent.health.windows import Recent
from node_agent.probe.observations import HostFinding, HostReport, Standing

MAXIMUM_REPORTS: Final = 1024
"""Things of the host whose newest report is remembered."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What reports of one kind mean."""

    prefix: str
    kind: str
    bad: Severity
    summary: str
    repair: Rung | None = None
    scope: Scope = Scope.HOST


_RULES: Final[Mapping[HostFinding, _Rule]] = MappingProxyType(
    {
        HostFinding.DISK_SPACE: _Rule("host/disk", "DISK_FULL", Severity.FATAL, "A disk is full or does not answer"),
        HostFinding.INODES: _Rule("host/inodes", "INODES_FULL", Severity.FATAL, "A file system has no inodes left"),
        HostFinding.READ_ONLY: _Rule(
            "host/read-only", "READ_ONLY", Severity.FATAL, "A file system is read-only", Rung.REBOOT_HOST
        ),
        HostFinding.SERVICE: _Rule(
            "host/service", "SERVICE_DOWN", Severity.WARNING, "A service is down", Rung.RESTART_SERVICE
        ),
        HostFinding.PORT: _Rule("link", "PORT_DOWN", Severity.WARNING, "A network port is down", scope=Scope.LINK),
        HostFinding.PORT_ERRORS: _Rule(
            "link", "PORT_ERRORS", Severity.WARNING, "A network port has many errors", scope=Scope.LINK
        ),
        HostFinding.CLOCK_DRIFT: _Rule(
            "host/clock", "CLOCK_DRIFT", Severity.WARNING, "The clock is off, or nothing keeps it right"
        ),
        HostFinding.MEMORY: _Rule("host/memory", "MEMORY_FULL", Severity.WARNING, "The host is short of memory"),
        HostFinding.CUSTOM: _Rule("host/check", "CUSTOM", Severity.FATAL, "A check of the operator fails"),
        HostFinding.DCGM: _Rule("host/dcgm", "DCGM_UNAVAILABLE", Severity.WARNING, "The DCGM exporter cannot be used"),
    }
)


@dataclass(slots=True)
class _Newest:
    """The newest report of one subject."""

    report: HostReport
    place: Place
    state: State
    hold: Hold
    at: datetime


class HostReports:
    """Judges reports on the host. The newest of each thing goes on being true until the next."""

    def __init__(self, host: Host, states: States) -> None:
        self._host = host
        self._states = states
        self._newest: Recent[str, _Newest] = Recent(MAXIMUM_REPORTS)

    def observe(self, report: HostReport, now: float) -> list[Change]:
        """Judge one report."""
        if report.standing is Standing.UNKNOWN:
            return []
        place, state = self._place(report), _state(report)
        newest = _Newest(report, place, state, self._hold(report), report.observed_at)
        self._newest.set(f"{place.prefix}/{state.slug}", newest)
        return self._judge(newest, report.observed_at, now)

    def tick(self, at: datetime, now: float) -> list[Change]:
        """Let what was reported once, and goes on, become or end a condition."""
        changes: list[Change] = []
        for key, newest in self._newest.items():
            lasts = key in self._host.book
            bad = newest.report.standing in (Standing.WARNING, Standing.BAD)
            if bad is lasts:
                if not bad:
                    self._newest.pop(key)
                continue
            changes += self._judge(newest, at, now)
        return changes

    def _judge(self, newest: _Newest, at: datetime, now: float) -> list[Change]:
        report = newest.report
        source = Source.DCGM if report.finding is HostFinding.DCGM else Source.HOST
        return self._states.read(
            newest.place,
            newest.state,
            newest.hold,
            bad=report.standing in (Standing.WARNING, Standing.BAD),
            text=report.text,
            source=Source.CUSTOM if report.finding is HostFinding.CUSTOM else source,
            at=at,
            now=now,
        )

    def _place(self, report: HostReport) -> Place:
        rule, subject = _RULES[report.finding], name(report.subject)
        if report.gpu_uuid:
            uuid = name(report.gpu_uuid)
            known = uuid if uuid in self._host.gpus else ""
            return Place(f"gpu/{uuid}/check", Scope.GPU, uuid, known, "")
        return Place(rule.prefix, rule.scope, subject)

    def _hold(self, report: HostReport) -> Hold:
        rules = self._host.rules
        match report.finding:
            case HostFinding.SERVICE:
                return rules.service
            case HostFinding.PORT | HostFinding.PORT_ERRORS:
                return rules.port
            case HostFinding.CLOCK_DRIFT:
                return rules.clock
            case _:
                return rules.report


def _state(report: HostReport) -> State:
    rule, subject = _RULES[report.finding], name(report.subject)
    bad = report.standing is Standing.BAD
    slug = subject.strip("/").replace("/", "-") or "root"
    if report.finding is HostFinding.PORT_ERRORS:
        slug = f"{slug}/errors"
    kind, summary = rule.kind, rule.summary
    if report.finding is HostFinding.DCGM and report.gpu_uuid:
        kind, summary = "DCGM_GPU_MISSING", "The DCGM exporter no longer shows a GPU"
    state = State(slug, kind, rule.bad if bad else Severity.WARNING, f"{summary}: {subject or 'the host'}")
    if not bad:
        return state
    state = replace(state, repair=rule.repair)
    if report.finding is HostFinding.SERVICE:
        # Without the fabric manager no CUDA program starts on an NVSwitch system; the others are helpers.
        severity = Severity.FATAL if "fabricmanager" in subject else rule.bad
        state = replace(state, service=subject, severity=severity)
    return state
