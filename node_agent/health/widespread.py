"""The same fatal XID on nearly all GPUs at once: one fault of the driver or the host, not many of GPUs."""

import math
from dataclasses import replace
from typing import Final

from node_agent.health.findings import Finding, Sighting, seen_at
from node_agent.health.host import Host
from node_agent.health.model import Authority, Change, Rung, Scope, Severity
from node_agent.health.windows import Recent

MAXIMUM_CODES: Final = 64
MEMORY: Final = frozenset({48, 63, 64, 92, 94, 95, 140, 156, 157, 171, 172})
"""Errors of a GPU's own memory: several at once are several defects."""


class Widespread:
    """Counts on how many GPUs a fatal XID came within `all_gpus_seconds`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._seen: Recent[int, dict[str, float]] = Recent(MAXIMUM_CODES)

    def forget(self, gpu: str) -> None:
        """Forget what came on a GPU, after it was repaired."""
        for seen in self._seen.values():
            seen.pop(gpu, None)

    def aligned(self, finding: Finding) -> Finding:
        """Return a finding with the repair of the host's fault that it is part of, if it is."""
        track = self._host.book.get(f"host/driver/xid-{finding.code}")
        if track is None or finding.severity is not Severity.FATAL or finding.authority is Authority.DRIVER:
            return finding
        if finding.repair in (track.finding.repair, Rung.QUARANTINE):
            return finding
        return replace(finding, repair=track.finding.repair, authority=Authority.RULE)

    def note(self, finding: Finding, gpu: str, sighting: Sighting, now: float) -> list[Change]:
        """Note a fatal finding; on nearly all GPUs, raise one condition of the host and align the GPUs' repairs."""
        code, host = finding.code, self._host
        if code in MEMORY or gpu not in host.gpus:
            return []
        rules = host.rules
        seen = self._seen.set(code, self._seen.get(code) or {})
        seen[gpu] = now
        for other in [other for other, at in seen.items() if now - at > rules.all_gpus_seconds]:
            del seen[other]
        needed = max(rules.all_gpus_minimum, math.ceil(rules.all_gpus_share * len(host.gpus)))
        condition_id = f"host/driver/xid-{code}"
        if len(seen) < needed and condition_id not in host.book:
            return []
        rung = Rung.REBOOT_HOST if finding.repair is Rung.REBOOT_HOST else Rung.RELOAD_DRIVER
        of_host = Finding(
            id=condition_id,
            scope=Scope.HOST,
            subject="driver",
            kind="DRIVER_FAULT",
            severity=finding.severity,
            summary=f"XID {code} on nearly all GPUs at once: a fault of the driver or the host",
            code=code,
            repair=rung,
            authority=Authority.RULE,
            vendor_action=finding.vendor_action,
            sticky=True,
        )
        changes = host.book.see(of_host, sighting, now)
        for other in tuple(seen):
            for track in host.book.of_gpu(other):
                same = track.finding.code == code and track.finding.repair not in (rung, Rung.QUARANTINE)
                if same and track.finding.authority is not Authority.DRIVER:
                    changes += host.book.amend(
                        track,
                        seen_at(sighting),
                        of_host.summary,
                        repair=rung,
                        authority=Authority.RULE,
                    )
        return changes
