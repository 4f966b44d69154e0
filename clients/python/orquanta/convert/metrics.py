"""Figures and telemetry from the wire."""

from orquanta.convert.scalars import read_time, read_usd
from orquanta.types.metrics import (
    FleetMetrics,
    GpuMinute,
    GpuSample,
    GpuTypeMetrics,
    HostSample,
    NodeTelemetry,
    TelemetryIntake,
    TelemetryRollup,
)
from orquanta.v1 import event_pb2, metrics_pb2


def read_fleet_metrics(message: metrics_pb2.GetFleetMetricsResponse) -> FleetMetrics:
    """The fleet's figures."""
    return FleetMetrics(
        gpu_types=tuple(_read_gpu_type(entry) for entry in message.gpu_types),
        nodes_by_state=dict(message.nodes_by_state),
        jobs_by_state=dict(message.jobs_by_state),
        goals_by_state=dict(message.goals_by_state),
        spent_usd=read_usd(message.spent_usd_micros),
        reserved_usd=read_usd(message.reserved_usd_micros),
        measured_at=read_time(message.measured_at),
        incidents_by_state=dict(message.incidents_by_state),
        conditions_by_kind=dict(message.conditions_by_kind),
        telemetry=TelemetryIntake(
            batches=message.telemetry.batches,
            refused=message.telemetry.refused,
            shed=message.telemetry.shed,
            pauses=message.telemetry.pauses,
        ),
    )


def _read_gpu_type(message: metrics_pb2.GpuTypeMetrics) -> GpuTypeMetrics:
    measured = message.HasField("utilization_percent")
    return GpuTypeMetrics(
        gpu_type=message.gpu_type,
        total=message.total,
        allocated=message.allocated,
        free=message.free,
        utilization_percent=message.utilization_percent if measured else None,
        price_usd_per_gpu_hour=read_usd(message.price_usd_micros_per_gpu_hour),
        used_milli=message.used_milli,
        partly_allocated=message.partly_allocated,
    )


def read_node_telemetry(message: metrics_pb2.NodeTelemetry) -> NodeTelemetry:
    """The newest telemetry of one node."""
    return NodeTelemetry(
        node_id=message.node_id,
        sampled_at=read_time(message.newest.sampled_at),
        gpus=tuple(_read_gpu_sample(sample) for sample in message.newest.gpus),
        host=_read_host_sample(message.newest.host),
        batches=message.batches,
        received_at=read_time(message.received_at),
    )


def _read_gpu_sample(message: event_pb2.GpuSample) -> GpuSample:
    has = message.HasField
    return GpuSample(
        uuid=message.uuid,
        utilization_percent=message.utilization_percent if has("utilization_percent") else None,
        memory_used_bytes=message.memory_used_bytes if has("memory_used_bytes") else None,
        memory_total_bytes=message.memory_total_bytes if has("memory_total_bytes") else None,
        temperature_celsius=message.temperature_celsius if has("temperature_celsius") else None,
        power_watts=message.power_watts if has("power_watts") else None,
        sm_clock_mhz=message.sm_clock_mhz if has("sm_clock_mhz") else None,
        memory_clock_mhz=message.memory_clock_mhz if has("memory_clock_mhz") else None,
        clock_event_reasons=message.clock_event_reasons if has("clock_event_reasons") else None,
        ecc_corrected=message.ecc_corrected if has("ecc_corrected") else None,
        ecc_uncorrected=message.ecc_uncorrected if has("ecc_uncorrected") else None,
        pcie_replays=message.pcie_replays if has("pcie_replays") else None,
        error=message.error,
    )


def _read_host_sample(message: event_pb2.HostSample) -> HostSample:
    has = message.HasField
    return HostSample(
        cpu_percent=message.cpu_percent if has("cpu_percent") else None,
        memory_used_bytes=message.memory_used_bytes if has("memory_used_bytes") else None,
        load_1m=message.load_1m if has("load_1m") else None,
    )


def read_rollup(message: event_pb2.TelemetryRollup) -> TelemetryRollup:
    """One minute of one node."""
    return TelemetryRollup(
        started_at=read_time(message.started_at),
        samples=message.samples,
        gpus=tuple(
            GpuMinute(
                uuid=gpu.uuid,
                utilization_percent=gpu.utilization_percent,
                memory_used_bytes_max=gpu.memory_used_bytes_max,
                temperature_celsius_max=gpu.temperature_celsius_max,
                power_watts=gpu.power_watts,
            )
            for gpu in message.gpus
        ),
    )
