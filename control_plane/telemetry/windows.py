"""Rolling windows of the newest samples of every GPU, of fixed size, in memory. Long history is not kept here."""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from control_plane.clock import Clock
from control_plane.model.ids import NodeId
from orquanta.v1 import event_pb2

WINDOW_SAMPLES: Final = 120
"""Samples kept for each GPU: two minutes at one a second, about 2.5 KB."""

GPUS_PER_NODE_MAX: Final = 64
NODES_MAX: Final = 20_000

_UNSET_PERCENT: Final = 255
_UNSET_CELSIUS: Final = -32_768
_NAN: Final = math.nan


@dataclass(frozen=True, slots=True)
class GpuPoint:
    """One sample of one GPU. A value that the driver did not tell is None. `age_seconds` is since its arrival."""

    age_seconds: float
    utilization_percent: int | None
    memory_used_bytes: int | None
    temperature_celsius: int | None
    power_watts: float | None


class GpuWindow:
    """The last WINDOW_SAMPLES samples of one GPU, in rings that never grow."""

    __slots__ = ("_celsius", "_count", "_memory", "_next", "_percent", "_times", "_watts")

    def __init__(self) -> None:
        self._times = array("d", bytes(8 * WINDOW_SAMPLES))
        self._percent = array("B", bytes(WINDOW_SAMPLES))
        self._memory = array("q", bytes(8 * WINDOW_SAMPLES))
        self._celsius = array("h", bytes(2 * WINDOW_SAMPLES))
        self._watts = array("f", bytes(4 * WINDOW_SAMPLES))
        self._next = 0
        self._count = 0

    def add(self, at: float, sample: event_pb2.GpuSample) -> None:
        """Add a sample that arrived at monotonic time `at`, in seconds."""
        here = self._next
        self._times[here] = at
        self._percent[here] = sample.utilization_percent if sample.HasField("utilization_percent") else _UNSET_PERCENT
        self._memory[here] = sample.memory_used_bytes if sample.HasField("memory_used_bytes") else -1
        self._celsius[here] = sample.temperature_celsius if sample.HasField("temperature_celsius") else _UNSET_CELSIUS
        self._watts[here] = sample.power_watts if sample.HasField("power_watts") else _NAN
        self._next = (here + 1) % WINDOW_SAMPLES
        self._count = min(self._count + 1, WINDOW_SAMPLES)

    def utilization(self, since: float) -> float | None:
        """Return the mean utilisation in percent of the samples that arrived at `since` or later, or None."""
        values = [self._percent[place] for place in self._newest_first(since) if self._percent[place] != _UNSET_PERCENT]
        return sum(values) / len(values) if values else None

    def points(self, now: float, since: float) -> list[GpuPoint]:
        """Return the samples that arrived at `since` or later, oldest first."""
        points = [
            GpuPoint(
                age_seconds=now - self._times[place],
                utilization_percent=_or_none(self._percent[place], _UNSET_PERCENT),
                memory_used_bytes=_or_none(self._memory[place], -1),
                temperature_celsius=_or_none(self._celsius[place], _UNSET_CELSIUS),
                power_watts=None if math.isnan(self._watts[place]) else self._watts[place],
            )
            for place in self._newest_first(since)
        ]
        return points[::-1]

    def _newest_first(self, since: float) -> Iterator[int]:
        for back in range(1, self._count + 1):
            place = (self._next - back) % WINDOW_SAMPLES
            if self._times[place] < since:
                return
            yield place


@dataclass(slots=True)
class NodeTelemetry:
    """What one node has sent since the control plane started."""

    newest: event_pb2.TelemetryBatch
    received_at: datetime
    batches: int = 0
    gpus: dict[str, GpuWindow] = field(default_factory=dict)


class TelemetryWindows:
    """Windows of all nodes. Belongs to one event loop; every call is quick and none blocks."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._nodes: dict[NodeId, NodeTelemetry] = {}

    def add(self, node_id: NodeId, batch: event_pb2.TelemetryBatch) -> bool:
        """Add a batch whose values were checked; return False when there is no room for another node."""
        node = self._nodes.get(node_id)
        if node is None:
            if len(self._nodes) >= NODES_MAX:
                return False
            node = self._nodes[node_id] = NodeTelemetry(batch, self._clock.now())
        node.newest = batch
        node.received_at = self._clock.now()
        node.batches += 1
        at = self._clock.monotonic()
        for sample in batch.gpus:
            window = node.gpus.get(sample.uuid)
            if window is None:
                if len(node.gpus) >= GPUS_PER_NODE_MAX:
                    self._forget_absent(node)
                if len(node.gpus) >= GPUS_PER_NODE_MAX:
                    continue
                window = node.gpus[sample.uuid] = GpuWindow()
            window.add(at, sample)
        return True

    def newest(self, node_id: NodeId) -> event_pb2.TelemetryBatch | None:
        """Return the node's newest batch, or None if it sent none."""
        node = self._nodes.get(node_id)
        return None if node is None else node.newest

    def received_at(self, node_id: NodeId) -> datetime | None:
        """Return when the node's newest batch arrived."""
        node = self._nodes.get(node_id)
        return None if node is None else node.received_at

    def batches(self, node_id: NodeId) -> int:
        """Return how many batches the node has sent since the control plane started."""
        node = self._nodes.get(node_id)
        return 0 if node is None else node.batches

    def nodes(self) -> tuple[NodeId, ...]:
        """Return the nodes that have sent any telemetry, by id."""
        return tuple(sorted(self._nodes))

    def utilization(self, node_id: NodeId, gpu_uuid: str, seconds: float) -> float | None:
        """Return a GPU's mean utilisation over the last `seconds`, in percent; None without samples.

        The node is part of the question: what a node says about a GPU of another one counts for nothing.
        """
        window = self._window(node_id, gpu_uuid)
        return None if window is None else window.utilization(self._clock.monotonic() - seconds)

    def points(self, node_id: NodeId, gpu_uuid: str, seconds: float) -> list[GpuPoint]:
        """Return a GPU's samples of the last `seconds`, oldest first."""
        now = self._clock.monotonic()
        window = self._window(node_id, gpu_uuid)
        return [] if window is None else window.points(now, now - seconds)

    def forget(self, node_id: NodeId) -> None:
        """Drop a node that left the fleet."""
        self._nodes.pop(node_id, None)

    def _window(self, node_id: NodeId, gpu_uuid: str) -> GpuWindow | None:
        node = self._nodes.get(node_id)
        return None if node is None else node.gpus.get(gpu_uuid)

    def _forget_absent(self, node: NodeTelemetry) -> None:
        present = {sample.uuid for sample in node.newest.gpus}
        node.gpus = {uuid: window for uuid, window in node.gpus.items() if uuid in present}


def _or_none(value: int, unset: int) -> int | None:
    return None if value == unset else value
