"""What a virtual host has recorded and its control plane may not have yet: numbered, bounded, told on each link."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from orquanta.v1 import health_pb2, node_link_pb2, repair_pb2
from simulator.stamps import stamp

SPOOL_MAX: Final = 2_000
"""Records that wait to be acknowledged; beyond, the oldest are given up, and the host says so."""

_BATCH_MAX: Final = 500


@dataclass(slots=True)
class Spool:
    """The records of one host, oldest first. `lost`: given up and not told yet."""

    sequence: int = 0
    """Of the newest record."""
    lost: int = 0
    _records: deque[node_link_pb2.SpoolRecord] = field(default_factory=deque)
    _sent: int = 0

    def add(
        self, now: float, **content: health_pb2.HealthEvent | repair_pb2.RepairReport | node_link_pb2.SpoolLoss
    ) -> bool:
        """Record what a field of `SpoolRecord` is named for; return whether the oldest was given up for it."""
        self.sequence += 1
        record = node_link_pb2.SpoolRecord(sequence=self.sequence, recorded_at=stamp(now), **content)  # type: ignore[arg-type] # one of the record's contents, by its field's name
        self._records.append(record)
        if len(self._records) <= SPOOL_MAX:
            return False
        self._records.popleft()
        self.lost += 1
        return True

    def unsent(self) -> Iterator[list[node_link_pb2.SpoolRecord]]:
        """Yield what was not said on this link yet, at most `_BATCH_MAX` records at a time, and take it as said."""
        fresh: list[node_link_pb2.SpoolRecord] = []
        for record in reversed(self._records):
            if record.sequence <= self._sent:
                break
            fresh.append(record)
        fresh.reverse()
        for first in range(0, len(fresh), _BATCH_MAX):
            batch = fresh[first : first + _BATCH_MAX]
            self._sent = batch[-1].sequence
            yield batch

    def rewind(self) -> None:
        """Take all as not said: the link is gone."""
        self._sent = 0

    def acknowledge(self, sequence: int) -> Iterator[node_link_pb2.SpoolRecord]:
        """Yield and forget the records up to this one."""
        while self._records and self._records[0].sequence <= sequence:
            yield self._records.popleft()
