"""What a minute of telemetry comes down to."""

from dataclasses import replace
from datetime import UTC, datetime

from node_agent.parts.rollup import Rollup
from node_agent.probe.samples import GpuSample, HostSample, ReadFailure, TelemetryBatch, unread

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def gpu(index: int, *, busy: int | None, used: int, degrees: int, watts: float | None) -> GpuSample:
    empty = unread(index, f"GPU-{index}", ReadFailure("nvmlDeviceGetPowerUsage", "NOT_SUPPORTED"))
    return replace(
        empty, utilization_percent=busy, memory_used_bytes=used, temperature_celsius=degrees, power_watts=watts
    )


def batch(*gpus: GpuSample) -> TelemetryBatch:
    return TelemetryBatch(1, NOW, 0.0, None, HostSample(*[None] * 8), tuple(gpus))


def test_means_and_peaks_are_over_the_samples_that_had_a_value() -> None:
    rollup = Rollup(NOW, 100.0)
    rollup.add(batch(gpu(0, busy=10, used=100, degrees=40, watts=200.0)))
    rollup.add(batch(gpu(0, busy=None, used=300, degrees=50, watts=None)))
    rollup.add(batch(gpu(0, busy=30, used=200, degrees=45, watts=400.0), gpu(1, busy=1, used=1, degrees=1, watts=1.0)))
    made = rollup.to_record().telemetry_rollup
    assert made.samples == 3
    assert made.started_at.ToDatetime(tzinfo=UTC) == NOW
    first, second = made.gpus
    assert (first.uuid, first.utilization_percent, first.power_watts) == ("GPU-0", 20.0, 300.0)
    assert (first.memory_used_bytes_max, first.temperature_celsius_max) == (300, 50)
    assert second.uuid == "GPU-1"


def test_it_is_due_after_a_minute_of_the_monotonic_clock() -> None:
    rollup = Rollup(NOW, 100.0)
    assert not rollup.is_due(159.9)
    assert rollup.is_due(160.0)
