"""`orquanta-node scan`: look at this host once and say what is wrong, with or without a daemon or a control plane."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from node_agent.clock import SystemClock
from node_agent.commands import page
from node_agent.convert_health import to_condition
from node_agent.health.engine import HealthEngine
from node_agent.health.model import Condition, GpuIdentity, Severity
from node_agent.probe.child_process import VirtualGpuSettings
from node_agent.probe.client import ProbeClient
from node_agent.probe.custom.checks import CustomChecks
from node_agent.probe.errors import ProbeAway
from node_agent.probe.host import HostSampler
from node_agent.probe.host_checks.checks import HostChecks
from node_agent.probe.host_checks.settings import HostCheckSettings
from node_agent.probe.inventory import HostInventory, host_inventory
from node_agent.probe.kernel.reader import scan_log
from node_agent.probe.observations import HostReport, KernelReport, ProbeObservations, Standing
from node_agent.probe.samples import GpuSample, TelemetryBatch
from node_agent.settings import Settings

_WARNINGS: Final = 1
_FATAL: Final = 2
_KERNEL_LINES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at a host found."""

    looked_at: datetime
    host: HostInventory | None
    gpus: tuple[GpuSample, ...]
    nvml_error: str
    reports: tuple[HostReport, ...]
    kernel: tuple[KernelReport, ...]
    kernel_error: str
    conditions: tuple[Condition, ...]

    @property
    def exit_code(self) -> int:
        """0 if nothing is wrong, 1 for warnings, 2 if something must take no jobs."""
        worst = max((one.severity for one in self.conditions), default=Severity.INFO)
        return {Severity.INFO: 0, Severity.WARNING: _WARNINGS, Severity.FATAL: _FATAL}[worst]


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Look, print one page or JSON, and return the scan's exit code."""
    sys.stderr.write(
        "Looking at GPUs, kernel log, disks, services and network ports ...\n" if sys.stderr.isatty() else ""
    )
    found = asyncio.run(look(settings))
    lines = [json.dumps(_values(found), indent=2)] if options.json else _page(found)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return found.exit_code


async def look(settings: Settings) -> Scan:
    """Look at everything once. A part that cannot be looked at is left out, and the page says so."""
    clock = SystemClock()
    observations = ProbeObservations()
    virtual = VirtualGpuSettings(settings.virtual_gpus, "scan", None) if settings.virtual_gpus else None
    probe = ProbeClient(virtual, observe=observations.put, clock=clock)
    engine = HealthEngine(clock=clock, rules=settings.health)
    try:
        batch, host = await _read_gpus(probe, clock)
    finally:
        probe.close()
    checks = HostChecks(HostCheckSettings(settings.state_dir, settings.mount_points, settings.services), clock)
    reports = await checks.look_once() + await CustomChecks(settings.checks, clock).look_once()
    driver = (host.driver_version if host else None) or ""
    kernel, kernel_error = await asyncio.to_thread(_read_kernel_log, settings, driver, clock)
    if host is not None:
        engine.set_gpus([_identity(host, index) for index in range(len(host.gpus))])
    for observation in (*kernel, *reports):
        engine.observe(observation)
    if batch is not None:
        engine.observe(batch)
    return Scan(
        looked_at=clock.now(),
        host=host,
        gpus=batch.gpus if batch else (),
        nvml_error=(batch.nvml_error or "") if batch else "the probe does not answer",
        reports=tuple(reports),
        kernel=kernel,
        kernel_error=kernel_error,
        conditions=engine.conditions(),
    )


async def _read_gpus(probe: ProbeClient, clock: SystemClock) -> tuple[TelemetryBatch | None, HostInventory | None]:
    try:
        await probe.start()
        reading = await probe.read(fresh=True)
    except ProbeAway:
        return None, None
    host = None if probe.inventory is None else host_inventory(probe.inventory)
    error = (host.nvml_error if host else None) or reading.nvml_error
    batch = TelemetryBatch(1, clock.now(), reading.duration_seconds, error, HostSampler().sample(), reading.gpus)
    return batch, host


def _read_kernel_log(
    settings: Settings, driver_version: str, clock: SystemClock
) -> tuple[tuple[KernelReport, ...], str]:
    """Return what the kernel log says, or why it cannot be read."""
    path = settings.kernel_log
    if not path:
        return (), "switched off in the settings"
    try:
        return tuple(scan_log(clock, Path(path), driver_version, any_writer=settings.allow_kmsg_injection)), ""
    except OSError as error:
        return (), f"{path} cannot be read ({error.strerror}): run this as root"


def _identity(host: HostInventory, index: int) -> GpuIdentity:
    gpu = host.gpus[index]
    return GpuIdentity(
        gpu.uuid, gpu.index, gpu.pci_bus_id or "", gpu.model, gpu.serial or "", host.driver_version or ""
    )


def _page(found: Scan) -> Iterable[str]:
    name = found.host.hostname if found.host else "this host"
    yield f"{page.printable(name)}, looked at {found.looked_at:%Y-%m-%d %H:%M:%S} UTC"
    yield ""
    yield from _gpu_lines(found)
    yield ""
    good = sum(report.standing is Standing.GOOD for report in found.reports)
    yield f"HOST    {good} of {len(found.reports)} checks good"
    for report in found.reports:
        if report.standing is not Standing.GOOD:
            words = f"{report.finding.value} {report.subject}: {report.text}"
            yield f"        {report.standing.value:8}{page.printable(words)}"
    lines = f"{len(found.kernel)} line(s) about GPUs or the hardware since boot"
    yield f"KERNEL  {page.printable(found.kernel_error) or lines}"
    for one in found.kernel[-_KERNEL_LINES_SHOWN:]:
        line = getattr(one, "line", None)  # a loss of lines has none
        yield (
            f"        {page.printable(line.text[:160])}" if line is not None else "        some lines were overwritten"
        )
    yield ""
    yield from page.describe_conditions([to_condition(one) for one in found.conditions])
    yield ""
    yield ("Healthy.", "Serves, with warnings.", "NOT healthy: see the repair that each condition asks for.")[
        found.exit_code
    ]


def _gpu_lines(found: Scan) -> Iterable[str]:
    if not found.gpus:
        yield f"GPUS    none to be seen ({found.nvml_error or 'the driver lists none'})"
        return
    driver = found.host.driver_version if found.host else ""
    yield f"GPUS    {len(found.gpus)}, driver {driver or 'unknown'}"
    models = {gpu.uuid: gpu for gpu in found.host.gpus} if found.host else {}
    for gpu in found.gpus:
        known = models.get(gpu.uuid)
        figures = [f"{gpu.temperature_celsius} C"] if gpu.temperature_celsius is not None else []
        figures += [f"{gpu.power_watts:.0f} W"] if gpu.power_watts is not None else []
        figures += [f"{gpu.utilization_percent} %"] if gpu.utilization_percent is not None else []
        state = gpu.error or "readable"
        where = f"{known.model if known else 'GPU'} {known.pci_bus_id if known else ''}"
        yield f"  {gpu.index:2}    {where:24} {gpu.uuid}  {', '.join(figures):20} {state}"


def _values(found: Scan) -> dict[str, Any]:
    """Return the scan for `json.dumps`. Any: it becomes JSON."""
    return {
        "looked_at": found.looked_at.isoformat(),
        "hostname": found.host.hostname if found.host else "",
        "driver_version": (found.host.driver_version or "") if found.host else "",
        "nvml_error": found.nvml_error,
        "gpus": [
            {
                "index": gpu.index,
                "uuid": gpu.uuid,
                "temperature_celsius": gpu.temperature_celsius,
                "power_watts": gpu.power_watts,
                "utilization_percent": gpu.utilization_percent,
                "error": gpu.error,
            }
            for gpu in found.gpus
        ],
        "checks": [
            {
                "finding": report.finding.value,
                "subject": report.subject,
                "standing": report.standing.value,
                "text": report.text,
            }
            for report in found.reports
        ],
        "kernel_reports": len(found.kernel),
        "kernel_error": found.kernel_error,
        "conditions": [
            {
                "id": one.id,
                "kind": one.kind,
                "code": one.code,
                "severity": one.severity.name.lower(),
                "summary": one.summary,
                "gpu_uuid": one.gpu_uuid,
                "repair": one.repair.name.lower() if one.repair else "",
                "authority": one.authority.value if one.authority else "",
                "vendor_action": one.vendor_action,
                "count": one.count,
            }
            for one in found.conditions
        ],
        "exit_code": found.exit_code,
    }
