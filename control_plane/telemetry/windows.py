"""Rolling windows of the newest samples of every GPU, of fixed size, in memory. Long history is not kept here."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from control_plane.clock import Clock
from control_plane.model.ids import NodeId
from control_plane.telemetry.reading import (
    GPUS_PER_NODE_MAX,
    UNSET_CELSIUS,
    UNSET_KIB,
    UNSET_PERCENT,
    UNSET_WATTS,
    Reading,
)
from orquanta.v1 import event_pb2

WINDOW_SAMPLES: Final = 120
"""Samples kept for each GPU: two minutes at one a second, 11.5 KB for a host of 8 GPUs."""

NODES_MAX: Final = 20_000

_KIB: Final = 1024
_FIELDS: Final = ("percent", "celsius", "memory_kib", "watts")
_UNSET: Final = {
    "percent": UNSET_PERCENT,
    "celsius": UNSET_CELSIUS,
    "memory_kib": UNSET_KIB,
    "watts": UNSET_WATTS,
}

_Ring = npt.NDArray[Any]  # Any: a record for each tick, see `_layout`


@dataclass(frozen=True, slots=True)
class GpuPoint:
    """One sample of one GPU. A value that the driver did not tell is None. `age_seconds` is since its arrival.

    Memory is kept to the KiB.
    """

    age_seconds: float
    utilization_percent: int | None
    memory_used_bytes: int | None
    temperature_celsius: int | None
    power_watts: float | None


@dataclass(slots=True)
class TelemetryCounts:
    """What became of the batches that came in since the control plane started.

    `shed`: given up because more came than could be taken. `pauses`: how often nothing was taken for a while, so that
    everything else could go on; what came meanwhile is not counted.
    """

    batches: int = 0
    garbage: int = 0
    no_room: int = 0
    shed: int = 0
    pauses: int = 0


class _NodeWindow:
    """The ring of one node: one record for each tick, with the columns of all its GPUs."""

    __slots__ = ("_bytes", "_count", "_next", "_pack", "_ring", "batches", "newest", "received_at", "uuids")

    def __init__(self, uuids: tuple[str, ...]) -> None:
        layout, packing = _layout(len(uuids))
        self.uuids = uuids
        self.batches = 0
        self.newest = b""
        self.received_at: datetime | None = None
        self._ring: _Ring = np.zeros(WINDOW_SAMPLES, layout)
        self._bytes = self._ring.view(np.uint8).data
        self._pack = packing
        self._next = 0
        self._count = 0

    def add(self, at: float, now: datetime, reading: Reading) -> None:
        """Add a tick that arrived at monotonic time `at`, in seconds."""
        if reading.uuids != self.uuids:
            self._become(reading.uuids)
        self._pack.pack_into(
            self._bytes,
            self._next * self._pack.size,
            at,
            *reading.percents,
            *reading.celsius,
            *reading.memory_kib,
            *reading.watts,
        )
        self._next = (self._next + 1) % WINDOW_SAMPLES
        self._count = min(self._count + 1, WINDOW_SAMPLES)
        self.batches += 1
        self.newest = reading.serialized
        self.received_at = now

    def since(self, at: float) -> _Ring:
        """Return the records that arrived at `at` or later, oldest first."""
        order = np.arange(self._next - self._count, self._next) % WINDOW_SAMPLES
        records = self._ring[order]
        found: _Ring = records[records["at"] >= at]
        return found

    def _become(self, uuids: tuple[str, ...]) -> None:
        """Go on with other GPUs: those that stay keep their samples, those that are not there any more are dropped."""
        fresh = _NodeWindow(uuids)
        fresh._ring["at"] = self._ring["at"]
        for field in _FIELDS:
            fresh._ring[field] = _UNSET[field]
        places = {uuid: place for place, uuid in enumerate(self.uuids)}
        stay = [(place, places[uuid]) for place, uuid in enumerate(uuids) if uuid in places]
        for to, source in stay:
            for field in _FIELDS:
                fresh._ring[field][:, to] = self._ring[field][:, source]
        self.uuids, self._ring, self._bytes, self._pack = fresh.uuids, fresh._ring, fresh._bytes, fresh._pack


@cache
def _layout(gpus: int) -> tuple[np.dtype[Any], struct.Struct]:  # Any: a record type
    """Return a record of one tick of so many GPUs, for reading and for writing; at most GPUS_PER_NODE_MAX of them."""
    record = np.dtype(
        [
            ("at", "<f8"),
            ("percent", "u1", (gpus,)),
            ("celsius", "<i2", (gpus,)),
            ("memory_kib", "<u4", (gpus,)),
            ("watts", "<f4", (gpus,)),
        ]
    )
    return record, struct.Struct(f"<d{gpus}B{gpus}h{gpus}I{gpus}f")


class TelemetryWindows:
    """Windows of all nodes. Belongs to one event loop; every call is quick and none blocks."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._nodes: dict[NodeId, _NodeWindow] = {}
        self.counts = TelemetryCounts()

    def add(self, node_id: NodeId, reading: Reading) -> bool:
        """Add a batch whose values were checked; return False when there is no room for another node."""
        node = self._nodes.get(node_id)
        if node is None:
            if len(self._nodes) >= NODES_MAX:
                return False
            node = self._nodes[node_id] = _NodeWindow(reading.uuids)
        node.add(self._clock.monotonic(), self._clock.now(), reading)
        return True

    def gpus(self, node_id: NodeId) -> tuple[str, ...]:
        """Return the UUIDs of the GPUs in the node's newest batch; none if it sent none."""
        node = self._nodes.get(node_id)
        return () if node is None else node.uuids

    def newest(self, node_id: NodeId) -> event_pb2.TelemetryBatch | None:
        """Return the node's newest batch, or None if it sent none."""
        node = self._nodes.get(node_id)
        if node is None:
            return None
        batch = event_pb2.TelemetryBatch.FromString(node.newest)
        batch.DiscardUnknownFields()
        return batch

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
        return self.utilizations(node_id, seconds).get(gpu_uuid)

    def utilizations(self, node_id: NodeId, seconds: float) -> Mapping[str, float]:
        """Return the mean utilisation of a node's GPUs over the last `seconds`, in percent, of those with samples."""
        node = self._nodes.get(node_id)
        if node is None:
            return {}
        percents = node.since(self._clock.monotonic() - seconds)["percent"]
        told = percents != UNSET_PERCENT
        counts = told.sum(axis=0).tolist()
        sums = (percents * told).sum(axis=0, dtype=np.int64).tolist()
        means = zip(node.uuids, sums, counts, strict=True)
        return {uuid: total / count for uuid, total, count in means if count}

    def points(self, node_id: NodeId, gpu_uuid: str, seconds: float) -> list[GpuPoint]:
        """Return a GPU's samples of the last `seconds`, oldest first."""
        now = self._clock.monotonic()
        node = self._nodes.get(node_id)
        if node is None or gpu_uuid not in node.uuids:
            return []
        place = node.uuids.index(gpu_uuid)
        records = node.since(now - seconds)
        columns = [records[field][:, place].tolist() for field in _FIELDS]
        return [
            GpuPoint(
                age_seconds=now - at,
                utilization_percent=None if percent == UNSET_PERCENT else percent,
                memory_used_bytes=None if kib == UNSET_KIB else kib * _KIB,
                temperature_celsius=None if celsius == UNSET_CELSIUS else celsius,
                power_watts=None if math.isnan(watts) else watts,
            )
            for at, percent, celsius, kib, watts in zip(records["at"].tolist(), *columns, strict=True)
        ]

    def forget(self, node_id: NodeId) -> None:
        """Drop a node that left the fleet."""
        self._nodes.pop(node_id, None)


__all__ = ["GPUS_PER_NODE_MAX", "NODES_MAX", "WINDOW_SAMPLES", "GpuPoint", "TelemetryCounts", "TelemetryWindows"]
