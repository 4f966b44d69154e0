"""Reads the files of one attempt as one stream in order of time, and resumes where it was left."""

import os
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from control_plane.errors import InvalidArgument
from control_plane.telemetry.log_file import Frame, LogStream, frames

_BATCH_BYTES: Final = 1024 * 1024
_TAIL_BYTES: Final = 4 * 1024 * 1024  # of each rank: a line may be of any length
_MAX_TOKEN_CHARACTERS: Final = 65_536
_TOKEN: Final = re.compile("[0-9]{1,10}:[0-9]{1,20}(,[0-9]{1,10}:[0-9]{1,20})*")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A piece of a member's output. `position` resumes reading after it.

    `lost_bytes` stood before it and were dropped, because a bound of the host or of this store was reached.
    """

    epoch: int
    rank: int
    stream: LogStream
    data: bytes
    read_at: datetime
    lost_bytes: int
    position: str


@dataclass(frozen=True, slots=True)
class _Pending:
    """A record that waits for its turn among the ranks."""

    rank: int
    stream: LogStream
    data: bytes
    read_at: datetime
    lost_bytes: int
    end_offset: int


@dataclass(slots=True)
class _Cursor:
    """How far one rank's file was read."""

    path: Path
    rank: int
    read_to: int  # offset of the next byte of output
    place: int = 0
    inode: int = 0
    ended: bool = False
    waiting: deque[_Pending] = field(default_factory=deque)

    def fill(self) -> bool:
        """Read about a megabyte more, if nothing waits; return whether anything waits then. Raises OSError."""
        if self.waiting or self.ended:
            return bool(self.waiting)
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self.inode or status.st_size < self.place:
                self.inode, self.place = status.st_ino, 0  # rewritten without its older half
            taken = 0
            for frame in frames(file, self.place):
                self.place, self.ended = frame.next_position, frame.end
                self._take(frame)
                taken += len(frame.body)
                if taken >= _BATCH_BYTES and self.waiting:
                    break
        return bool(self.waiting)

    def _take(self, frame: Frame) -> None:
        for end_offset, record in frame.records():
            if end_offset <= self.read_to:
                continue
            start = end_offset - len(record.data)
            data = record.data[max(0, self.read_to - start) :]
            lost = max(0, start - self.read_to)
            self.read_to = end_offset
            self.waiting.append(_Pending(self.rank, record.stream, data, record.read_at, lost, end_offset))


class LogReader:
    """Reads one attempt from `position` on. Its functions block; they belong to one reader, in a worker thread."""

    def __init__(self, directory: Path, epoch: int, ranks: Sequence[int], position: str) -> None:
        self._epoch = epoch
        self._delivered = parse_position(position)
        self._cursors = [
            _Cursor(directory / f"{epoch}.{rank}.log", rank, self._delivered.get(rank, 0)) for rank in ranks
        ]

    @property
    def ended(self) -> bool:
        """Whether every rank's output is complete and was handed out."""
        return all(cursor.ended and not cursor.waiting for cursor in self._cursors)

    def batch(self) -> list[LogEntry]:
        """Return the next entries, ordered by time as far as they are known; none: there is no more for now."""
        entries: list[LogEntry] = []
        taken = 0
        while taken < _BATCH_BYTES:
            ready = [cursor for cursor in self._cursors if cursor.fill()]
            if not ready:
                break
            taken += self._merge(ready, entries)
        return entries

    def tail(self, lines: int) -> list[LogEntry]:
        """Return the last `lines` of what there is (no more than 4 MiB of each rank), and go on after it."""
        kept: list[_Pending] = []
        for cursor in self._cursors:
            newest: deque[_Pending] = deque()
            while cursor.fill():
                newest.extend(cursor.waiting)
                cursor.waiting.clear()
                _forget_older(newest, lines)
            kept.extend(newest)
        kept.sort(key=lambda pending: pending.read_at)
        for cursor in self._cursors:
            self._delivered[cursor.rank] = cursor.read_to
        return [self._entry(pending) for pending in _last_lines(kept, lines)]

    def _merge(self, ready: list[_Cursor], entries: list[LogEntry]) -> int:
        """Hand out the oldest record again and again, until some rank has to be read further."""
        taken = 0
        while all(cursor.waiting for cursor in ready):
            cursor = min(ready, key=lambda one: one.waiting[0].read_at)
            pending = cursor.waiting.popleft()
            self._delivered[pending.rank] = pending.end_offset
            entries.append(self._entry(pending))
            taken += len(pending.data)
        return taken

    def _entry(self, pending: _Pending) -> LogEntry:
        return LogEntry(
            self._epoch,
            pending.rank,
            pending.stream,
            pending.data,
            pending.read_at,
            pending.lost_bytes,
            _position(self._delivered),
        )


def parse_position(text: str) -> dict[int, int]:
    """Return for each rank the offset of the byte of output to go on with.

    Raises InvalidArgument (RESUME_TOKEN_INVALID).
    """
    if not text:
        return {}
    if len(text) > _MAX_TOKEN_CHARACTERS or not _TOKEN.fullmatch(text):
        raise InvalidArgument(
            "this resume token is not one of a log; pass the last one received, or none to start over",
            reason="RESUME_TOKEN_INVALID",
        )
    pairs = (pair.split(":") for pair in text.split(","))
    return {int(rank): int(offset) for rank, offset in pairs}


def _position(delivered: Mapping[int, int]) -> str:
    return ",".join(f"{rank}:{offset}" for rank, offset in delivered.items())


def _forget_older(newest: deque[_Pending], lines: int) -> None:
    """Drop what cannot be among the last `lines`, so that a tail of a large log stays small."""
    breaks = sum(pending.data.count(b"\n") for pending in newest)
    size = sum(len(pending.data) for pending in newest)
    while newest:
        oldest = newest[0]
        breaks -= oldest.data.count(b"\n")
        size -= len(oldest.data)
        if breaks <= lines and size < _TAIL_BYTES:
            return
        newest.popleft()


def _last_lines(kept: list[_Pending], lines: int) -> Iterator[_Pending]:
    """Cut the beginning off: of lines that ranks wrote in turns, each piece counts where it ends."""
    if not kept:
        return
    allowed = lines if kept[-1].data.endswith(b"\n") else lines - 1
    first = 0
    cut = 0
    breaks = 0
    for index in range(len(kept) - 1, -1, -1):
        here = kept[index].data.count(b"\n")
        if breaks + here > allowed:
            cut = _after_break(kept[index].data, breaks + here - allowed)
            first = index
            break
        breaks += here
    for pending in kept[first:]:
        data = pending.data[cut:]
        cut = 0
        if data:
            yield replace(pending, data=data, lost_bytes=0)


def _after_break(data: bytes, count: int) -> int:
    """Where the line after the first `count` line breaks begins."""
    at = 0
    for _ in range(count):
        at = data.index(b"\n", at) + 1
    return at
