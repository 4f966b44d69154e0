"""GPUs, samples, conditions and orders of the host on the stage."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime

from node_agent.health.model import Condition, GpuIdentity, Rung, Scope, Severity
from node_agent.probe.samples import (
    EccCounts,
    GpuSample,
    PcieLink,
    RecoveryAction,
    RemappedRows,
    RetiredPages,
    ThrottleReason,
)
from node_agent.repair.model import Origin, RepairOrder
from node_agent.repair.ports import (
    RepairGpu,
)


def gpu(index: int, *, capability: tuple[int, int] = (9, 0), peers: Collection[str] = ()) -> RepairGpu:
    return RepairGpu(
        GpuIdentity(
            uuid=f"GPU-{index}",
            index=index,
            pci_bus_id=f"00000000:{0x1B + index:02X}:00.0",
            gpu_type="H100",
            serial=f"165{index}",
            driver_version="580.95.05",
        ),
        minor_number=index,
        nvlink_peers=frozenset(peers),
        compute_capability=capability,
    )


def sample(index: int) -> GpuSample:
    return GpuSample(
        index=index,
        uuid=f"GPU-{index}",
        utilization_percent=0,
        memory_utilization_percent=0,
        memory_total_bytes=80 * 2**30,
        memory_used_bytes=0,
        power_watts=70.0,
        power_limit_watts=700.0,
        energy_joules=1.0,
        temperature_celsius=40,
        memory_temperature_celsius=40,
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
        performance_state=0,
        throttle_reasons=ThrottleReason.NONE,
        ecc=EccCounts(0, 0, 0, 0),
        pcie=PcieLink(5, 5, 16, 16, 0),
        remapped_rows=RemappedRows(0, 0, pending=False, failure=False),
        retired_pages=RetiredPages(0, 0, pending=False),
        recovery_action=RecoveryAction.NONE,
        processes=(),
        failures=(),
    )


def condition(
    kind: str = "XID",
    *,
    repair: Rung | None = Rung.RESET_GPU,
    gpu_uuid: str = "GPU-0",
    identity: str = "",
    count: int = 1,
    severity: Severity = Severity.FATAL,
    process_ids: tuple[int, ...] = (),
    service: str = "",
    first_seen_at: datetime = datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
    last_seen_at: datetime | None = None,
) -> Condition:
    return Condition(
        id=identity or f"gpu/{gpu_uuid}/{kind.lower()}",
        scope=Scope.GPU if gpu_uuid else Scope.HOST,
        subject=gpu_uuid,
        kind=kind,
        severity=severity,
        summary=f"{kind} on {gpu_uuid or 'the host'}",
        first_seen_at=first_seen_at,
        last_seen_at=last_seen_at or first_seen_at,
        count=count,
        gpu_uuid=gpu_uuid,
        repair=repair,
        process_ids=process_ids,
        service=service,
    )


def order(rung: Rung = Rung.RESET_GPU, repair_id: str = "r-1", **fields: object) -> RepairOrder:
    made = RepairOrder(id=repair_id, rung=rung, origin=Origin.CONTROL_PLANE, reason="a test", gpu_uuids=("GPU-0",))
    return replace(made, **fields)  # type: ignore[arg-type] # fields of an order, by name
