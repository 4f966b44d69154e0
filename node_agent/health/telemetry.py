"""What a tick of telemetry says: which GPUs answer, what the driver states, and the states of those that answer."""

from datetime import datetime
from typing import Final

from node_agent.health.actions import stated
from node_agent.health.findings import Finding, evidence
from node_agent.health.gpu_states import GpuStates
from node_agent.health.host import MAXIMUM_GPUS, Host
from node_agent.health.link_states import LinkStates
from node_agent.health.model import Authority, Change, Rung, Scope, Severity, Source
from node_agent.health.statements import Statements
from node_agent.health.states import Place, State, States
from node_agent.health.windows import Recent
from node_agent.health.xid_findings import lost_finding
from node_agent.health.xids import Xids
from node_agent.probe.observations import StatedAction
from node_agent.probe.samples import GPU_MISSING, GpuSample, RecoveryAction, TelemetryBatch

LOST_ERRORS: Final = frozenset({"GPU_IS_LOST", GPU_MISSING})
RESET_ERRORS: Final = frozenset({"RESET_REQUIRED", "GPU_REQUIRES_RESET"})
"""NVML's way to say, in place of a value, that the GPU needs a reset."""
AWAY: Final = frozenset({"UNINITIALIZED", "PROBE_STARTING", "PROBE_STALLED", "PROBE_DIED"})
"""NVML was let go of on purpose, or the probe is away, which has a condition of its own: the GPUs may be well.

A host short of processors or memory may need minutes to start a probe; a driver that hangs while it is opened is a
stall. PROBE_STUCK is not among these: nothing starts a probe any more, so no further stall would tell."""

UNREADABLE: Final = State("unreadable", "GPU_UNREADABLE", Severity.WARNING, "Reads of the GPU fail")
UNREADABLE_WHOLLY: Final = State(
    "unreadable", "GPU_UNREADABLE", Severity.FATAL, "Nothing of the GPU can be read", Rung.RESET_GPU
)
NVML_GONE: Final = State(
    "nvml", "NVML_UNAVAILABLE", Severity.FATAL, "NVML cannot be opened on a host with GPUs", Rung.RELOAD_DRIVER
)
_NVML_PLACE: Final = Place("host/driver", Scope.HOST, "driver")


class Telemetry:
    """Judges telemetry."""

    def __init__(self, host: Host, states: States, statements: Statements, xids: Xids) -> None:
        self._host = host
        self._states = states
        self._statements = statements
        self._xids = xids
        self._gpu_states = GpuStates(host, states)
        self.links = LinkStates(host, states)
        self._lost: Recent[str, int] = Recent(MAXIMUM_GPUS)
        self.uncorrected: dict[str, int] = {}
        """Uncorrected memory errors since the driver was loaded, as last seen, by UUID."""
        self._places: dict[str, Place] = {}

    def forget(self, uuid: str) -> None:
        """Begin anew with a GPU that was repaired."""
        self._lost.pop(uuid)
        self.uncorrected.pop(uuid, None)

    def observe(self, batch: TelemetryBatch, now: float) -> list[Change]:
        """Judge one tick."""
        at = batch.sampled_at
        if batch.nvml_error in AWAY:
            return []
        changes: list[Change] = []
        if self._host.gpus:
            gone = batch.nvml_error is not None
            text = f"NVML says {batch.nvml_error}" if gone else ""
            hold = self._host.rules.nvml_gone
            changes += self._states.read(
                _NVML_PLACE, NVML_GONE, hold, bad=gone, text=text, source=Source.NVML, at=at, now=now
            )
            if gone:
                return changes
        for sample in batch.gpus[:MAXIMUM_GPUS]:
            if sample.uuid:
                changes += self._observe_gpu(sample, at, now)
        return changes

    def _observe_gpu(self, sample: GpuSample, at: datetime, now: float) -> list[Change]:
        uuid = sample.uuid
        place = self._place(uuid)
        errors = {failure.error for failure in sample.failures} if sample.failures else set[str]()
        if errors & LOST_ERRORS:
            return self._is_lost(place, errors, at, now)
        self._lost.pop(uuid)
        if errors & RESET_ERRORS:
            sighting = evidence(Source.NVML, uuid, "NVML says RESET_REQUIRED", at)
            return self._statements.read(uuid, place.pci_bus_id, StatedAction.GPU_RESET, sighting, now)
        changes = self._unreadable(place, sample, at, now)
        if sample.recovery_action is not None and (
            sample.recovery_action is not RecoveryAction.NONE or self._statements.reads_of(uuid)
        ):
            action = stated(sample.recovery_action)
            sighting = evidence(Source.NVML, uuid, f"NVML states the recovery action {action.value}", at)
            changes += self._statements.read(uuid, place.pci_bus_id, action, sighting, now)
        changes += self._uncorrected(place, sample.ecc.uncorrected_volatile, at, now)
        changes += self._gpu_states.read(place, sample, at, now)
        return changes + self.links.read(place, sample, at, now)

    def _place(self, uuid: str) -> Place:
        gpu = self._host.gpus.get(uuid)
        pci = gpu.pci_bus_id if gpu is not None else ""
        place = self._places.get(uuid)
        if place is None or place.pci_bus_id != pci:
            if len(self._places) >= MAXIMUM_GPUS:
                self._places.clear()
            place = self._places[uuid] = Place(f"gpu/{uuid}", Scope.GPU, uuid, uuid, pci)
        return place

    def _is_lost(self, place: Place, errors: set[str], at: datetime, now: float) -> list[Change]:
        uuid = place.gpu_uuid
        samples = self._lost.set(uuid, min(1 << 20, (self._lost.get(uuid) or 0) + 1))
        book = self._host.book
        condition_id = f"gpu/{uuid}/lost"
        if condition_id in book:
            book.keep(condition_id, at, now)
            if samples > 1:
                return []
        else:
            rules = self._host.rules
            if samples < (rules.missing_samples if GPU_MISSING in errors else rules.lost_samples):
                return []
        sighting = evidence(Source.NVML, uuid, f"NVML says {', '.join(sorted(errors & LOST_ERRORS))}", at)
        found = self._statements.obeyed(lost_finding(self._host, uuid, place.pci_bus_id), uuid, now)
        return book.see(found, sighting, now)

    def _unreadable(self, place: Place, sample: GpuSample, at: datetime, now: float) -> list[Change]:
        hold = self._host.rules.unreadable
        bad = bool(sample.failures)
        wholly = bad and sample.memory_used_bytes is None and sample.temperature_celsius is None
        wholly = wholly and sample.utilization_percent is None
        worst = wholly and self._states.bad_for(place, UNREADABLE, now) >= self._host.rules.unreadable_fatal_seconds
        text = f"{sample.failures[0].function}: {sample.failures[0].error}" if bad else ""
        state = UNREADABLE_WHOLLY if worst else UNREADABLE
        return self._states.read(place, state, hold, bad=bad, text=text, source=Source.NVML, at=at, now=now)

    def _uncorrected(self, place: Place, count: int | None, at: datetime, now: float) -> list[Change]:
        if count is None:
            return []
        uuid = place.gpu_uuid
        before = self.uncorrected.get(uuid)
        if before is None and len(self.uncorrected) >= MAXIMUM_GPUS:
            return []
        self.uncorrected[uuid] = count
        if before is None or count <= before:  # it begins anew when the driver is loaded
            return []
        sighting = evidence(Source.NVML, f"{uuid}-ecc", f"uncorrected memory errors: {before}, now {count}", at)
        book = self._host.book
        if (track := self._xids.memory_fault(uuid, now)) is not None:
            book.add_evidence(track, sighting)
            return []
        found = Finding(
            id=f"gpu/{uuid}/ecc-uncorrected",
            scope=Scope.GPU,
            subject=uuid,
            kind="ECC_UNCORRECTED",
            severity=Severity.FATAL,
            summary="The GPU's memory has uncorrected errors",
            gpu_uuid=uuid,
            pci_bus_id=place.pci_bus_id,
            repair=Rung.RESET_GPU,
            authority=Authority.RULE,
            sticky=True,
        )
        return book.see(self._statements.obeyed(found, uuid, now), sighting, now)
