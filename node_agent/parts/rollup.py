"""One-minute means and peaks of telemetry, for the time in which raw samples cannot be sent."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from node_agent.convert import timestamp
from node_agent.probe.samples import GpuSample, TelemetryBatch
from orquanta.v1 import event_pb2, node_link_pb2

ROLLUP_SECONDS: Final = 60.0
_MAXIMUM_GPUS: Final = 64


@dataclass(slots=True)
class _Gpu:
    """Sums over the samples in which a value was there."""

    utilization_sum: float = 0.0
    utilization_count: int = 0
    memory_used_bytes_max: int = 0
    temperature_celsius_max: int = 0
    power_watts_sum: float = 0.0
    power_count: int = 0

    def add(self, sample: GpuSample) -> None:
        if sample.utilization_percent is not None:
            self.utilization_sum += sample.utilization_percent
            self.utilization_count += 1
        if sample.power_watts is not None:
            self.power_watts_sum += sample.power_watts
            self.power_count += 1
        self.memory_used_bytes_max = max(self.memory_used_bytes_max, sample.memory_used_bytes or 0)
        self.temperature_celsius_max = max(self.temperature_celsius_max, sample.temperature_celsius or 0)


class Rollup:
    """Collects samples of at most one minute."""

    def __init__(self, started_at: datetime, began_seconds: float) -> None:
        """`began_seconds` is the same moment on the monotonic clock."""
        self._started_at = started_at
        self.began_seconds = began_seconds
        self.samples = 0
        self._gpus: dict[str, _Gpu] = {}

    def add(self, batch: TelemetryBatch) -> None:
        """Add one sample of the host."""
        self.samples += 1
        for sample in batch.gpus:
            if sample.uuid in self._gpus or len(self._gpus) < _MAXIMUM_GPUS:
                self._gpus.setdefault(sample.uuid, _Gpu()).add(sample)

    def is_due(self, now_seconds: float) -> bool:
        """Say whether its minute is over."""
        return now_seconds - self.began_seconds >= ROLLUP_SECONDS

    def to_record(self) -> node_link_pb2.SpoolRecord:
        """Return it for the spool."""
        return node_link_pb2.SpoolRecord(
            telemetry_rollup=event_pb2.TelemetryRollup(
                started_at=timestamp(self._started_at),
                samples=self.samples,
                gpus=[
                    event_pb2.GpuRollup(
                        uuid=uuid,
                        utilization_percent=gpu.utilization_sum / max(1, gpu.utilization_count),
                        memory_used_bytes_max=gpu.memory_used_bytes_max,
                        temperature_celsius_max=gpu.temperature_celsius_max,
                        power_watts=gpu.power_watts_sum / max(1, gpu.power_count),
                    )
                    for uuid, gpu in self._gpus.items()
                ],
            )
        )
