"""Telemetry as evidence: for each GPU one line of figures, and nobody's words."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from control_plane.model.diagnosis import EvidenceItem, EvidenceKind
from control_plane.model.ids import NodeId
from control_plane.telemetry.windows import WINDOW_SAMPLES, GpuPoint, TelemetryWindows

GPUS_MAX: Final = 8
"""GPUs of one host that are told of."""


def gpu_facts(
    windows: TelemetryWindows, node_id: NodeId, node_name: str, gpu_uuids: Sequence[str], *, age_seconds: float = 0.0
) -> tuple[EvidenceItem, ...]:
    """Return how GPUs were over at most two minutes, up to `age_seconds` ago; nothing of which none is known."""
    received_at = windows.received_at(node_id)
    if received_at is None:
        return ()
    found = []
    for uuid in gpu_uuids[:GPUS_MAX]:
        points = [
            one for one in windows.points(node_id, uuid, WINDOW_SAMPLES + age_seconds) if one.age_seconds >= age_seconds
        ]
        if points:
            found.append(_fact(node_id, node_name, uuid, points, received_at))
    return tuple(found)


def _fact(
    node_id: NodeId, node_name: str, uuid: str, points: Sequence[GpuPoint], received_at: datetime
) -> EvidenceItem:
    seen_at = received_at - timedelta(seconds=max(0.0, points[-1].age_seconds))
    told = [
        _range("utilization", "%", points, lambda one: one.utilization_percent),
        _range("memory used", "GiB", points, lambda one: _gib(one.memory_used_bytes)),
        _range("temperature", "C", points, lambda one: one.temperature_celsius),
        _range("power", "W", points, lambda one: one.power_watts),
    ]
    words = "; ".join(one for one in told if one) or "the driver told no figures"
    seconds = points[0].age_seconds - points[-1].age_seconds
    return EvidenceItem(
        f"telemetry:{node_id}/{seen_at:%Y-%m-%dT%H:%M:%SZ}/{uuid}",
        EvidenceKind.TELEMETRY,
        f"{uuid} on {node_name}, {len(points)} samples over {seconds:.0f} s: {words}"[:500],
        seen_at,
    )


def _gib(value: int | None) -> float | None:
    return None if value is None else value / 2**30


def _range(name: str, unit: str, points: Sequence[GpuPoint], value_of: Callable[[GpuPoint], float | None]) -> str:
    values = [value for value in map(value_of, points) if value is not None]
    if not values:
        return ""
    return f"{name} {min(values):.4g} to {max(values):.4g} {unit}, at the end {values[-1]:.4g}"
