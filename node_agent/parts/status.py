"""How the daemon is: for people (`orquanta-node status`) and for Prometheus."""

import os
from dataclasses import dataclass
from typing import Any, Final

from node_agent.clock import Clock
from node_agent.convert import to_report
from node_agent.exporter.state import ExporterState, GpuLabels
from node_agent.hardware import Hardware
from node_agent.health.model import Condition
from node_agent.jobs.runner import JobRunner
from node_agent.link.broker import Broker
from node_agent.link.link import NodeLink
from node_agent.parts.alone import Watch
from node_agent.parts.desk import HealthDesk
from node_agent.parts.jobs import HostJobs
from node_agent.parts.kernel import KernelWatch
from node_agent.parts.repairs import RepairDesk, Repairman
from node_agent.parts.telemetry import TelemetryFlow
from node_agent.policy.keeper import PolicyKeeper
from node_agent.probe.dcgm.client import DcgmClient
from node_agent.probe.kernel.pci import normalise_pci_bus_id
from node_agent.repair.model import RepairRecord
from node_agent.spool.spool import Spool
from orquanta import __version__
from orquanta.v1 import job_pb2, node_link_pb2

_MAXIMUM_CONDITIONS: Final = 50  # shown in the status; `orquanta-node conditions` shows all
_MAXIMUM_GPUS: Final = 64


@dataclass(frozen=True, slots=True)
class Status:
    """Puts the daemon's state together from its parts."""

    hardware: Hardware
    runner: JobRunner
    broker: Broker
    link: NodeLink
    spool: Spool
    desk: HealthDesk
    kernel: KernelWatch
    telemetry: TelemetryFlow
    dcgm: DcgmClient | None
    policy: PolicyKeeper
    jobs: HostJobs
    watch: Watch
    repairs: Repairman
    repair_desk: RepairDesk
    clock: Clock

    def describe(self) -> dict[str, Any]:
        """Return what `orquanta-node status` shows. Any: it becomes JSON."""
        link, identity, spool, policy = self.link.status, self.link.identity, self.spool.status(), self.policy.held
        conditions = self.desk.conditions()
        return {
            "version": __version__,
            "running": True,
            "pid": os.getpid(),
            "connected": link.connected,
            "node_id": identity.node_id,
            "node_name": identity.node_name,
            "certificate_expires_at": identity.certificate.not_after.isoformat(),
            "link": {
                "connected": link.connected,
                "server": link.server,
                "reason": link.reason,
                "clock_ahead_seconds": round(link.clock_ahead_seconds, 3),
            },
            "cordoned": self.jobs.cordoned,
            "nats_connected": self.broker.connected,
            "telemetry_sent": self.broker.counts.telemetry_sent,
            "telemetry_dropped": self.broker.counts.telemetry_dropped,
            "telemetry_rolled_up": self.telemetry.rolled_up,
            "gpus": [{"uuid": gpu.uuid, "type": gpu.gpu_type} for gpu in self.hardware.inventory.gpus],
            "spool": f"{spool.last - spool.acknowledged} records wait" + (f": {spool.fault}" if spool.fault else ""),
            "spool_state": {
                "id": spool.spool_id,
                "last": spool.last,
                "acknowledged": spool.acknowledged,
                "used_bytes": spool.used_bytes,
                "lost_records": spool.lost_records,
                "fault": spool.fault,
                "acknowledged_at": None if spool.acknowledged_at is None else spool.acknowledged_at.isoformat(),
            },
            "policy": self.policy.standing().value
            + ("" if policy is None else f", version {policy.version}, until {policy.expires_at:%Y-%m-%d %H:%M} UTC"),
            "kernel_log": "read" if self.kernel.reading else "not read",
            "repairs": self.repairs.mode.value,
            "repair": _describe_repair(self.repair_desk.newest),
            "conditions": [_describe_condition(condition) for condition in conditions[:_MAXIMUM_CONDITIONS]],
            "conditions_count": len(conditions),
            "members": [_describe_member(to_report(status)) for status in self.runner.statuses().values()],
        }

    def collect(self) -> ExporterState:
        """Return what the Prometheus endpoint shows."""
        spool, found = self.spool.status(), self.hardware.found
        by_pci = {normalise_pci_bus_id(gpu.pci_bus_id or ""): gpu.uuid for gpu in found.gpus if gpu.uuid}
        newest = self.telemetry.newest
        stats = self.hardware.stats
        return ExporterState(
            hostname=found.hostname,
            version=__version__,
            driver_version=found.driver_version or "",
            gpus=tuple(
                GpuLabels(gpu.uuid, gpu.index, normalise_pci_bus_id(gpu.pci_bus_id or ""), gpu.name or "")
                for gpu in found.gpus[:_MAXIMUM_GPUS]
                if gpu.uuid
            ),
            batch=newest,
            batch_age_seconds=None if newest is None else self.clock.monotonic() - self.telemetry.newest_at_seconds,
            last_xids={by_pci[pci]: code for pci, code in self.kernel.last_xids.items() if pci in by_pci},
            conditions=self.desk.conditions(),
            spool_events=spool.last - spool.acknowledged,
            spool_bytes=spool.used_bytes,
            spool_dropped=spool.lost_records,
            telemetry_dropped=self.broker.counts.telemetry_dropped,
            link_up=self.link.status.connected,
            probe_stalls={"nvml": stats.stalls} | ({} if self.dcgm is None else {"dcgm": self.dcgm.stalls}),
            repairs=dict(self.repair_desk.counts),
            kernel_lines_read=self.desk.kernel_lines,
            kernel_lines_lost=self.desk.kernel_lines_lost,
        )


def _describe_repair(record: RepairRecord | None) -> str:
    if record is None:
        return ""
    return f"{record.order.id} {record.order.rung.name.lower()} {record.state.value}: {record.message}"


def _describe_condition(condition: Condition) -> dict[str, Any]:
    """Return one condition for the status. Any: it becomes JSON."""
    return {
        "id": condition.id,
        "severity": condition.severity.name,
        "kind": condition.kind,
        "summary": condition.summary,
        "repair": "" if condition.repair is None else condition.repair.name.lower(),
        "count": condition.count,
        "first_seen_at": condition.first_seen_at.isoformat(),
        "last_seen_at": condition.last_seen_at.isoformat(),
        "acknowledged_by": condition.acknowledged_by,
    }


def _describe_member(report: node_link_pb2.MemberReport) -> dict[str, Any]:
    """Return one member for the status. Any: it becomes JSON."""
    return {
        "allocation_id": report.allocation_id,
        "job_id": report.job_id,
        "epoch": report.epoch,
        "rank": report.rank,
        "state": job_pb2.AllocationState.Name(report.state).removeprefix("ALLOCATION_STATE_").lower(),
        "exit_code": report.exit_code if report.HasField("exit_code") else None,
        "message": report.message,
        "gpu_uuids": list(report.gpu_uuids),
    }
