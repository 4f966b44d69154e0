"""The health engine: observations in, conditions and their changes out. It does no I/O and never waits."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from node_agent.clock import Clock
from node_agent.health.actions import cures
from node_agent.health.applications import Applications
from node_agent.health.book import Book
from node_agent.health.catalogue import Catalogue, VendorCatalogue
from node_agent.health.findings import NVML_SEQUENCE, Track, bounded, evidence
from node_agent.health.host import MAXIMUM_GPUS, Host
from node_agent.health.host_reports import HostReports
from node_agent.health.kernel_faults import KernelFaults
from node_agent.health.lemons import HOST, Lemons
from node_agent.health.model import Change, Condition, GpuIdentity, JobOnGpu, Rung, Scope, Severity, Source
from node_agent.health.rules import HealthRules
from node_agent.health.state import HealthState, Remembered
from node_agent.health.statements import Statements
from node_agent.health.states import States
from node_agent.health.switches import Switches
from node_agent.health.telemetry import Telemetry
from node_agent.health.xid_findings import lost_finding
from node_agent.health.xids import Xids
from node_agent.probe.observations import (
    HostReport,
    KernelFaultReport,
    KernelLine,
    KernelLoss,
    KernelReport,
    NvmlXid,
    ProbeStall,
    SxidReport,
    XidReport,
)
from node_agent.probe.samples import TelemetryBatch

Observation = KernelReport | NvmlXid | HostReport | ProbeStall | TelemetryBatch

MAXIMUM_WAITING: Final = 256
"""XIDs told by NVML that wait for the kernel's line."""
NVML_WAIT_SECONDS: Final = 2.0
"""How long such an XID waits: the kernel's line says more, and usually comes first."""

_OF_HOST: Final = frozenset({Rung.RESTART_SERVICE, Rung.RELOAD_DRIVER, Rung.REBOOT_HOST})
_RESETS: Final = frozenset({Rung.RESET_GPU, Rung.RELOAD_DRIVER, Rung.REBOOT_HOST})


class HealthEngine:
    """Holds the conditions of one host. Not for use from two threads at once.

    Times of observations are kept as they are; windows and hysteresis run on the monotonic clock, so that a corrected
    wall clock raises and clears nothing.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rules: HealthRules = HealthRules(),  # noqa: B008  (frozen, without state)
        restored: HealthState | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        state = restored or HealthState()
        self._clock = clock
        self._rules = rules
        self._boot_id = state.boot_id
        self._lemons = Lemons(rules, state.repairs)
        book = Book(rules, lambda uuid: self._lemons.count(uuid, clock.now()))
        self._book = book
        self._host = Host(book, rules, catalogue or VendorCatalogue())
        self._host.set_gpus(state.gpus)
        self._host.lost_before_boot = set(state.lost_before_boot)
        self._states = States(self._host)
        self._applications = Applications(self._host)
        self._statements = Statements(self._host)
        self._xids = Xids(self._host, self._applications, self._statements)
        self._switches = Switches(self._host)
        self._telemetry = Telemetry(self._host, self._states, self._statements, self._xids)
        self._telemetry.links.expected = {uuid: set(links) for uuid, links in state.links.items()}
        self._telemetry.uncorrected = dict(state.uncorrected)
        self._kernel_faults = KernelFaults(self._host, self._states)
        self._host_reports = HostReports(self._host, self._states)
        self._waiting: deque[tuple[NvmlXid, float]] = deque(maxlen=MAXIMUM_WAITING)
        self._missing_since: dict[str, float] = {}
        now, at = clock.monotonic(), clock.now()
        for one in state.conditions:
            silent_seconds = max(0.0, (at - one.last_seen_at).total_seconds())
            book.restore(one.track(now - silent_seconds))

    # Surroundings ---------------------------------------------------------------------------------------------------

    def set_gpus(self, gpus: Sequence[GpuIdentity]) -> list[Change]:
        """Take over the inventory. A GPU that stays away for `missing_seconds` is lost; an empty one says nothing."""
        vanished = self._host.set_gpus(gpus)
        if not gpus:
            return []
        now = self._clock.monotonic()
        self._missing_since = {uuid: self._missing_since.get(uuid, now) for uuid in vanished}
        return self._missing(self._clock.now(), now)

    def set_jobs(self, holders: Mapping[str, JobOnGpu]) -> None:
        """Take over which job holds which GPU, by UUID."""
        self._host.holders = dict(list(holders.items())[:MAXIMUM_GPUS])
        now = self._clock.monotonic()
        for uuid, job in self._host.holders.items():
            self._applications.note_run(uuid, job.job_id, now)

    # Observations ---------------------------------------------------------------------------------------------------

    def observe(self, observation: Observation) -> list[Change]:
        """Judge one observation; return what changed, in order. Repeats cost some microseconds."""
        now = self._clock.monotonic()
        match observation:
            case XidReport():
                return self._xids.observe(observation, now)
            case TelemetryBatch():
                return self._telemetry.observe(observation, now)
            case SxidReport():
                return self._switches.observe(observation, now)
            case KernelFaultReport():
                return self._kernel_faults.observe(observation, now)
            case HostReport():
                return self._host_reports.observe(observation, now)
            case ProbeStall():
                return self._kernel_faults.stall(observation, now)
            case NvmlXid():
                self._waiting.append((observation, now))
                return []
            case KernelLoss():
                return self._kernel_faults.lost_lines(observation, now)

    def tick(self) -> list[Change]:
        """Let time pass: what has been silent or good for long enough clears, what has been bad for long enough comes.

        To be called about once a second.
        """
        at, now = self._clock.now(), self._clock.monotonic()
        changes = self._told_by_nvml(now)
        changes += self._missing(at, now)
        changes += self._host_reports.tick(at, now)
        return changes + self._book.silence(at, now)

    # What is --------------------------------------------------------------------------------------------------------

    def conditions(self) -> tuple[Condition, ...]:
        """Return what is wrong now, worst first."""
        return self._book.conditions()

    def consequences(self, gpu_uuid: str, code: int) -> int:
        """Return how often an XID of a GPU was taken as the consequence of another fault since the daemon started."""
        return self._xids.consequences(gpu_uuid, code)

    def state(self) -> HealthState:
        """Return what must outlive the daemon."""
        return HealthState(
            boot_id=self._boot_id,
            conditions=tuple(Remembered.of(track) for track in self._book.tracks()),
            repairs=self._lemons.repairs(),
            gpus=tuple(self._host.gpus.values()),
            links={uuid: tuple(sorted(links)) for uuid, links in self._telemetry.links.expected.items() if links},
            uncorrected=dict(self._telemetry.uncorrected),
            lost_before_boot=tuple(sorted(self._host.lost_before_boot)),
        )

    # People ---------------------------------------------------------------------------------------------------------

    def acknowledge(self, condition_id: str, by: str, at: datetime) -> list[Change]:
        """Note that a person knows: the condition proposes no repair until it clears. Nothing if it does not last."""
        return self._book.acknowledge(condition_id, bounded(by), at)

    def clear(self, condition_id: str, by: str, at: datetime) -> list[Change]:
        """End a condition because a person says so; what still holds is raised again. Nothing if it does not last."""
        track = self._book.get(condition_id)
        if track is None:
            return []
        self._forgive(track)
        return self._book.clear(condition_id, at, f"cleared by {bounded(by)}", forgive=True)

    # Repairs and boots ----------------------------------------------------------------------------------------------

    def note_repair(
        self, gpu_uuids: Sequence[str], rung: Rung, succeeded: bool, at: datetime, *, service: str = ""
    ) -> list[Change]:
        """Take over the end of a repair: verified, it ends what it cures; three within 30 days make a lemon.

        `gpu_uuids` empty means all of the host, and then the repair counts for the host. `service` is the one that
        RESTART_SERVICE is about: conditions that ask for another stay. Dry runs are no repairs.
        """
        touched = [
            track
            for track in self._book.tracks()
            if self._touches(track, gpu_uuids, rung) and not _asks_for_another(track, rung, service)
        ]
        if not succeeded:
            return self._failed(touched, rung, at)
        changes: list[Change] = []
        for track in touched:
            if _is_cured(track, rung):
                self._states.forget(track.finding.id)
                changes += self._book.clear(track.finding.id, at, f"repaired by {rung.name}, and verified")
        subjects = [name for name in gpu_uuids if name in self._host.gpus]
        for uuid in subjects or self._host.gpus:
            if rung in _RESETS:
                self._statements.forget(uuid)
                self._telemetry.forget(uuid)
                self._xids.forget(uuid)
                self._applications.forgive(uuid)
            if rung is Rung.REBOOT_HOST:
                self._host.lost_before_boot.discard(uuid)
            if rung is Rung.VERIFY:
                self._applications.forgive(uuid)
        for subject in subjects or [HOST]:
            self._lemons.note(subject, rung, at)
            gpu = self._host.gpus.get(subject)
            found = self._lemons.finding(subject, gpu.pci_bus_id if gpu else "", at)
            if found is not None:
                sighting = evidence(Source.DAEMON, found.id, f"repaired by {rung.name}", at)
                changes += self._book.see(found, sighting, self._clock.monotonic())
        return changes

    def note_boot(self, boot_id: str, at: datetime) -> list[Change]:
        """Take over the boot that the daemon runs in; one that differs from the last ends what a reboot cures."""
        before, self._boot_id = self._boot_id, bounded(boot_id)
        if not before or before == self._boot_id:
            return []
        changes: list[Change] = []
        self._host.lost_before_boot = {
            track.finding.gpu_uuid for track in self._book.tracks() if track.finding.kind == "GPU_LOST"
        } - {HOST}
        for track in tuple(self._book.tracks()):
            if track.finding.cured_by_boot:
                self._states.forget(track.finding.id)
                changes += self._book.clear(track.finding.id, at, "the host was rebooted")
        for uuid in self._host.gpus:
            self._statements.forget(uuid)
            self._telemetry.forget(uuid)
            self._xids.forget(uuid)
        return changes

    # Inside ---------------------------------------------------------------------------------------------------------

    def _told_by_nvml(self, now: float) -> list[Change]:
        changes: list[Change] = []
        while self._waiting and now - self._waiting[0][1] >= NVML_WAIT_SECONDS:
            told, _ = self._waiting.popleft()
            gpu = self._host.gpus.get(told.gpu_uuid)
            pci = told.pci_bus_id or (gpu.pci_bus_id if gpu is not None else "")
            if not self._xids.told(self._host.key(pci), told.code, now):
                line = KernelLine(NVML_SEQUENCE, now, 4, f"NVML told of XID {told.code}", told.observed_at)
                changes += self._xids.observe(XidReport(line, told.code, pci, None, "", ""), now)
        return changes

    def _missing(self, at: datetime, now: float) -> list[Change]:
        changes: list[Change] = []
        for uuid, since in self._missing_since.items():
            condition_id = f"gpu/{uuid}/lost"
            if condition_id not in self._book and now - since >= self._rules.missing_seconds:
                gpu = self._host.gpus[uuid]
                sighting = evidence(Source.DAEMON, uuid, "the driver lists the GPU no more", at)
                changes += self._book.see(lost_finding(self._host, uuid, gpu.pci_bus_id), sighting, now)
        return changes

    def _forgive(self, track: Track) -> None:
        """Forget what would bring a condition back that a person ended."""
        finding = track.finding
        uuid = finding.gpu_uuid
        self._states.forget(finding.id)
        match finding.kind:
            case "LEMON":
                self._lemons.forgive(uuid)
            case "GPU_LOST":
                self._host.forget_gpu(uuid)
                self._host.lost_before_boot.discard(uuid)
                self._missing_since.pop(uuid, None)
                self._telemetry.forget(uuid)
            case "GPU_SUSPECT":
                self._applications.forgive(finding.subject)
            case "RECOVERY_ACTION":
                self._statements.forget(finding.subject)
            case "NVLINK_DOWN":
                self._telemetry.links.forget(uuid, int(finding.subject.rpartition("-")[2]))

    def _touches(self, track: Track, gpu_uuids: Sequence[str], rung: Rung) -> bool:
        finding = track.finding
        if finding.gpu_uuid:
            return not gpu_uuids or finding.gpu_uuid in gpu_uuids
        everything = not gpu_uuids or set(gpu_uuids) >= set(self._host.gpus) - self._host.missing
        return everything or rung in _OF_HOST

    def _failed(self, touched: Sequence[Track], rung: Rung, at: datetime) -> list[Change]:
        changes: list[Change] = []
        for track in touched:
            if track.finding.repair is rung:
                text = f"the repair {rung.name} failed"
                self._book.add_evidence(track, evidence(Source.DAEMON, f"{track.finding.id} repair", text, at))
                changes += self._book.tell(track, at, text)
        return changes


def _asks_for_another(track: Track, rung: Rung, service: str) -> bool:
    asked = track.finding.service.removesuffix(".service")
    return rung is Rung.RESTART_SERVICE and bool(asked) and asked != service.removesuffix(".service")


def _is_cured(track: Track, rung: Rung) -> bool:
    finding = track.finding
    if finding.kind == "GPU_SUSPECT" and rung in (Rung.VERIFY, *_RESETS):
        return True
    if finding.repair is not None:
        return cures(rung, finding.repair)
    # Warnings that ask for nothing, and what flaps, begin anew with a GPU or a driver that does.
    event = finding.clear_after_seconds is not None and finding.severity is Severity.WARNING
    of_gpu = finding.scope is not Scope.HOST or rung is not Rung.RESET_GPU
    return rung in _RESETS and of_gpu and (event or bool(track.flapping))
