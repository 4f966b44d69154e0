"""Samples of healthy GPUs at work."""

from collections.abc import Sequence

from node_agent.probe.samples import (
    EccCounts,
    GpuProcess,
    GpuSample,
    HostSample,
    PcieLink,
    RecoveryAction,
    RemappedRows,
    TelemetryBatch,
    ThrottleReason,
)
from tests.node_agent.health.host import Host, uuid

_HOST = HostSample(12.0, 1.0, 1.0, 1.0, 1 << 40, 1 << 39, 0, 1e5)


def sample(index: int) -> GpuSample:
    return GpuSample(
        index=index,
        uuid=uuid(index),
        utilization_percent=95,
        memory_utilization_percent=40,
        memory_total_bytes=80 << 30,
        memory_used_bytes=40 << 30,
        power_watts=600.0,
        power_limit_watts=700.0,
        energy_joules=1e6,
        temperature_celsius=65,
        memory_temperature_celsius=75,
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
        performance_state=0,
        throttle_reasons=ThrottleReason.SW_POWER_CAP,
        ecc=EccCounts(0, 0, 0, 0),
        pcie=PcieLink(5, 5, 16, 16, 0),
        remapped_rows=RemappedRows(0, 0, pending=False, failure=False),
        retired_pages=None,
        recovery_action=RecoveryAction.NONE,
        processes=(GpuProcess(1000 + index, 39 << 30),),
        failures=(),
        temperature_margin_celsius=20,
    )


def batch(host: Host, samples: Sequence[GpuSample], *, nvml_error: str | None = None) -> TelemetryBatch:
    return TelemetryBatch(1, host.clock.now(), 0.01, nvml_error, _HOST, tuple(samples))
