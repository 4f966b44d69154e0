"""What the driver itself states about recovery, in XID 154 or through NVML: it is obeyed over the catalogue."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from node_agent.health.actions import decide_stated
from node_agent.health.findings import Finding, Sighting, Track, seen_at
from node_agent.health.host import MAXIMUM_GPUS, Host
from node_agent.health.model import Authority, Change, Scope, Severity
from node_agent.health.windows import Recent
from node_agent.probe.observations import StatedAction

_SPEAKS_OF: Final = frozenset({"XID", "GPU_LOST", "ECC_UNCORRECTED", "GPU_UNREADABLE"})
"""Kinds of conditions that a driver's statement is about. Failed memory and repeat offenders need a person anyway."""


class Statements:
    """Remembers what the driver states of each GPU."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._stated: Recent[str, tuple[StatedAction, float]] = Recent(2 * MAXIMUM_GPUS)
        self._read: Recent[str, StatedAction] = Recent(2 * MAXIMUM_GPUS)

    def forget(self, gpu: str) -> None:
        """Forget what was stated, after a repair."""
        self._stated.pop(gpu)
        self._read.pop(gpu)

    def reads_of(self, gpu: str) -> bool:
        """Whether NVML stated an action when it was read last; if not, there is nothing that it could withdraw."""
        return self._read.get(gpu) is not None

    def read(self, gpu: str, pci_bus_id: str, action: StatedAction, sighting: Sighting, now: float) -> list[Change]:
        """Take over what NVML states now, every second anew: only what is not yet said becomes a condition."""
        before = self._read.get(gpu)
        if action is StatedAction.NONE:
            self._read.pop(gpu)
            # XID 154 may be ahead of NVML's reading, so only NVML's own statement is withdrawn here.
            return [] if before is None else self.state(gpu, pci_bus_id, action, sighting, now)
        self._read.set(gpu, action)
        if before is action and self._is_told(gpu):
            self._stated.set(gpu, (action, now))
            self._host.book.keep(f"gpu/{gpu}/recovery-action", seen_at(sighting), now)
            return []
        return self.state(gpu, pci_bus_id, action, sighting, now)

    def state(self, gpu: str, pci_bus_id: str, action: StatedAction, sighting: Sighting, now: float) -> list[Change]:
        """Obey a statement: it decides the repair of the faults it speaks of, or is a condition of its own."""
        book, at = self._host.book, seen_at(sighting)
        own_id = f"gpu/{gpu}/recovery-action"
        decision = decide_stated(action)
        if decision is None:
            self._stated.pop(gpu)
            return book.clear(own_id, at, "the driver states that no recovery is needed")
        self._stated.set(gpu, (action, now))
        changes: list[Change] = []
        spoken_of = False
        for track in book.of_gpu(gpu):
            finding = track.finding
            recent = now - track.seen_seconds <= self._host.rules.stated_action_seconds
            obeys = finding.authority is Authority.DRIVER
            if finding.kind not in _SPEAKS_OF or finding.severity is Severity.INFO or not (recent or obeys):
                continue
            if gpu not in self._host.gpus:
                continue
            spoken_of = True
            book.add_evidence(track, sighting)
            amended = _obeying(finding, action)
            changes += book.amend(
                track,
                at,
                f"the driver states: {action.value}",
                severity=amended.severity,
                repair=amended.repair,
                authority=amended.authority,
                sticky=amended.sticky,
                clear_after_seconds=amended.clear_after_seconds,
            )
        if spoken_of:
            return changes + self.absorb(gpu, at)
        known = gpu in self._host.gpus
        finding = Finding(
            id=own_id,
            scope=Scope.GPU,
            subject=gpu,
            kind="RECOVERY_ACTION",
            severity=decision.severity if known else Severity.WARNING,
            summary=f"The driver states a recovery action: {action.value}",
            code=154,
            gpu_uuid=gpu if known else "",
            pci_bus_id=pci_bus_id,
            repair=decision.rung if known else None,
            authority=Authority.DRIVER if known else None,
            vendor_action=action.value,
            sticky=True,
        )
        return changes + book.see(finding, sighting, now)

    def obeyed(self, finding: Finding, gpu: str, now: float) -> Finding:
        """Return a finding as the driver's standing statement about its GPU makes it."""
        stated = self._stated.get(gpu)
        if stated is None or finding.severity is Severity.INFO or not finding.gpu_uuid:
            return finding
        action, at = stated
        if now - at > self._host.rules.stated_action_seconds:
            return finding
        return _obeying(finding, action)

    def absorb(self, gpu: str, at: datetime) -> list[Change]:
        """End the statement's own condition when a fault that obeys it stands for it."""
        if not any(track.finding.authority is Authority.DRIVER for track in self._others(gpu)):
            return []
        return self._host.book.clear(f"gpu/{gpu}/recovery-action", at, "part of another condition of this GPU")

    def _others(self, gpu: str) -> list[Track]:
        own_id = f"gpu/{gpu}/recovery-action"
        return [track for track in self._host.book.of_gpu(gpu) if track.finding.id != own_id]

    def _is_told(self, gpu: str) -> bool:
        return any(track.finding.authority is Authority.DRIVER for track in self._host.book.of_gpu(gpu))


def _obeying(finding: Finding, action: StatedAction) -> Finding:
    decision = decide_stated(action)
    if decision is None:
        return finding
    return replace(
        finding,
        severity=decision.severity,
        repair=decision.rung,
        authority=Authority.DRIVER,
        sticky=True,
        clear_after_seconds=None,
    )
