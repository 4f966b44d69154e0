"""Records as the spool keeps them, and its bounds."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from google.protobuf.message import DecodeError

from orquanta.v1 import node_link_pb2

MAXIMUM_RECORD_BYTES: Final = 1_000_000
"""A larger record would fit into no batch of the link."""


class Kind(IntEnum):
    """What a record holds. The numbers are in the file: never change one."""

    HEALTH_EVENT = 1
    REPAIR_REPORT = 2
    TELEMETRY_ROLLUP = 3
    LOSS = 4


_KINDS = {
    "health_event": Kind.HEALTH_EVENT,
    "repair_report": Kind.REPAIR_REPORT,
    "telemetry_rollup": Kind.TELEMETRY_ROLLUP,
    "loss": Kind.LOSS,
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a spool may hold."""

    disk_bytes: int = 1_000_000_000
    age_seconds: float = 7 * 86400.0
    """Of the daemon's own running time: a wall clock that jumps, or a host that was off, loses nothing."""
    history_events: int = 2_000
    """Health events that are kept for people after they are in the books."""
    memory_records: int = 10_000
    """Records that wait in memory while the disk refuses them."""
    memory_bytes: int = 4_000_000
    recent_records: int = 500
    """Of those on disk, how many are also kept in memory, so that sending them reads no disk."""
    recent_bytes: int = 256_000


@dataclass(frozen=True, slots=True)
class Item:
    """One record, as written."""

    sequence: int
    kind: Kind
    samples: int
    """Raw telemetry samples that a roll-up stands for."""
    content: bytes
    """A SpoolRecord, serialized."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What was given up."""

    records: int = 0
    samples: int = 0

    def __add__(self, other: "Loss") -> "Loss":
        return Loss(self.records + other.records, self.samples + other.samples)

    def __bool__(self) -> bool:
        return bool(self.records or self.samples)

    @classmethod
    def of(cls, item: Item) -> "Loss":
        """Return what is lost with `item`; a loss record that is lost takes its own figures with it."""
        if item.kind is Kind.LOSS and (record := parse_item(item.sequence, item.content)) is not None:
            return cls(record.loss.records, record.loss.telemetry_samples)
        return cls(1, item.samples)


def parse_item(sequence: int, content: bytes) -> node_link_pb2.SpoolRecord | None:
    """Return a record as it was stored; None if the disk gave back something else: SQLite keeps no checksums."""
    try:
        record = node_link_pb2.SpoolRecord.FromString(content)
    except DecodeError:
        return None
    return record if record.sequence == sequence and record.WhichOneof("content") is not None else None


def make_item(record: node_link_pb2.SpoolRecord) -> Item:
    """Return a record, whose sequence is set, as an item. Raises ValueError for one without content or too large."""
    name = record.WhichOneof("content")
    if name is None:
        raise ValueError("a record of the spool must hold something")
    content = record.SerializeToString()
    if len(content) > MAXIMUM_RECORD_BYTES:
        raise ValueError(f"a record of {len(content)} bytes is too large; {MAXIMUM_RECORD_BYTES} are allowed")
    samples = record.telemetry_rollup.samples if name == "telemetry_rollup" else 0
    return Item(record.sequence, _KINDS[name], samples, content)
