"""Telemetry from the broker into the windows. Loss is tolerated; a node's word is checked before it is kept."""

import math
from dataclasses import dataclass
from typing import Final, Self

import structlog
from google.protobuf.message import DecodeError

from control_plane.bus.client import Bus, Message, Subscription
from control_plane.bus.subjects import ALL_TELEMETRY, parse_node_subject
from control_plane.errors import InvalidArgument
from control_plane.telemetry.windows import GPUS_PER_NODE_MAX, TelemetryWindows
from orquanta.v1 import event_pb2

log = structlog.get_logger()

_MAX_BATCH_BYTES: Final = 64 * 1024
_MAX_UUID_CHARACTERS: Final = 128
_MAX_ERROR_CHARACTERS: Final = 1000
_MAX_PERCENT: Final = 100
_CELSIUS: Final = range(-100, 1000)
_MAX_WATTS: Final = 100_000.0
_MAX_BYTES: Final = 2**50
_LOG_EVERY: Final = 1000  # refused batches


@dataclass(slots=True)
class IngestCounts:
    """What came in since the control plane started."""

    batches: int = 0
    garbage: int = 0
    no_room: int = 0


class TelemetryIngest:
    """Feeds the windows while it is entered (async context manager)."""

    def __init__(self, bus: Bus, windows: TelemetryWindows) -> None:
        self._bus = bus
        self._windows = windows
        self._subscription: Subscription | None = None
        self.counts = IngestCounts()

    async def __aenter__(self) -> Self:
        """Subscribe. Raises Unavailable."""
        self._subscription = await self._bus.subscribe(ALL_TELEMETRY, self.take)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            await self._subscription.close()

    async def take(self, message: Message) -> None:
        """Take one message; the node is the one in its subject, for which the broker vouches."""
        try:
            node_id = parse_node_subject(message.subject).node_id
            batch = read_batch(message.data)
        except (InvalidArgument, DecodeError, ValueError) as error:
            self.counts.garbage += 1
            if self.counts.garbage % _LOG_EVERY == 1:
                log.warning("telemetry.refused", subject=message.subject, why=str(error), refused=self.counts.garbage)
            return
        if self._windows.add(node_id, batch):
            self.counts.batches += 1
        else:
            self.counts.no_room += 1


def read_batch(data: bytes) -> event_pb2.TelemetryBatch:
    """Return the batch in a message's body. Raises DecodeError or ValueError if it makes no sense."""
    if len(data) > _MAX_BATCH_BYTES:
        raise ValueError(f"a batch of {len(data)} bytes; at most {_MAX_BATCH_BYTES} are taken")
    batch = event_pb2.TelemetryBatch.FromString(data)
    if not batch.HasField("sampled_at") or len(batch.gpus) > GPUS_PER_NODE_MAX:
        raise ValueError(f"a batch without a time, or of {len(batch.gpus)} GPUs")
    for sample in batch.gpus:
        if not _makes_sense(sample):
            raise ValueError(f"a sample out of range, of GPU {sample.uuid[:_MAX_UUID_CHARACTERS]!a}")
    if len({sample.uuid for sample in batch.gpus}) != len(batch.gpus):
        raise ValueError("two samples of one GPU in a batch")
    batch.DiscardUnknownFields()
    return batch


def _makes_sense(sample: event_pb2.GpuSample) -> bool:
    """Unset fields read as zero, which is in range."""
    return (
        0 < len(sample.uuid) <= _MAX_UUID_CHARACTERS
        and sample.uuid.isprintable()
        and sample.utilization_percent <= _MAX_PERCENT
        and sample.memory_used_bytes <= _MAX_BYTES
        and sample.memory_total_bytes <= _MAX_BYTES
        and sample.temperature_celsius in _CELSIUS
        and math.isfinite(sample.power_watts)
        and 0 <= sample.power_watts <= _MAX_WATTS
        and len(sample.error) <= _MAX_ERROR_CHARACTERS
    )
