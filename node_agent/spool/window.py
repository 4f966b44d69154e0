"""The newest records in memory: those that are not on disk yet, and some that are, so that sending reads no disk."""

from collections import deque

from node_agent.spool.items import Bounds, Item, Kind, Loss


class Window:
    """Records in order. Written ones leave when there are too many; unwritten ones are given up only beyond a bound."""

    def __init__(self, start: int, bounds: Bounds) -> None:
        """`start` is the first sequence that will be added; everything before it is on disk or gone."""
        self._bounds = bounds
        self._written: deque[Item] = deque()
        self._unwritten: deque[Item] = deque()
        self._written_bytes = self._unwritten_bytes = 0
        self._start = start

    @property
    def start(self) -> int:
        """From this sequence on, every record that still exists is here."""
        return self._start

    @property
    def unwritten_count(self) -> int:
        """Records that are not on disk."""
        return len(self._unwritten)

    def add(self, item: Item) -> Loss:
        """Add a record that is not on disk; return what had to be given up for it."""
        self._unwritten.append(item)
        self._unwritten_bytes += len(item.content)
        lost = Loss()
        while (
            len(self._unwritten) > self._bounds.memory_records or self._unwritten_bytes > self._bounds.memory_bytes
        ) and len(self._unwritten) > 1:
            victim = next((old for old in self._unwritten if old.kind is Kind.TELEMETRY_ROLLUP), self._unwritten[0])
            self._unwritten.remove(victim)
            self._unwritten_bytes -= len(victim.content)
            lost += Loss.of(victim)
        return lost

    def unwritten(self, limit: int) -> list[Item]:
        """Return the oldest records that are not on disk."""
        return [item for item, _ in zip(self._unwritten, range(limit), strict=False)]

    def note_written(self, sequence: int) -> None:
        """Everything up to `sequence` is on disk."""
        while self._unwritten and self._unwritten[0].sequence <= sequence:
            item = self._unwritten.popleft()
            self._unwritten_bytes -= len(item.content)
            self._written.append(item)
            self._written_bytes += len(item.content)
        while (
            len(self._written) > self._bounds.recent_records or self._written_bytes > self._bounds.recent_bytes
        ) and self._written:
            self._drop_oldest_written()

    def note_acknowledged(self, sequence: int) -> None:
        """Everything up to `sequence` is in the books."""
        while self._written and self._written[0].sequence <= sequence:
            self._drop_oldest_written()
        while self._unwritten and not self._written and self._unwritten[0].sequence <= sequence:
            item = self._unwritten.popleft()
            self._unwritten_bytes -= len(item.content)
            self._start = item.sequence + 1

    def forget_written(self) -> None:
        """What is on disk was changed there: read it from there."""
        while self._written:
            self._drop_oldest_written()

    def all_items(self) -> list[Item]:
        """Return everything that is here, oldest first."""
        return [*self._written, *self._unwritten]

    def read(self, first: int, last: int, limit: int, maximum_bytes: int) -> list[bytes]:
        """Return the contents of records from `first` to `last`, oldest first; at least one if there is any."""
        found: list[bytes] = []
        total = 0
        for item in (*self._written, *self._unwritten):
            if item.sequence < first:
                continue
            total += len(item.content)
            if item.sequence > last or len(found) >= limit or (found and total > maximum_bytes):
                break
            found.append(item.content)
        return found

    def _drop_oldest_written(self) -> None:
        item = self._written.popleft()
        self._written_bytes -= len(item.content)
        self._start = item.sequence + 1
