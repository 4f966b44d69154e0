"""Reading jobs' logs from disk: from any offset, across rotation, while they grow and after the end."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from node_agent.jobs.records import HEADER, MAGIC, MAX_PAYLOAD_BYTES, STDERR, STDOUT, segment_name, segment_offset
from node_agent.jobs.spec import MemberKey
from node_agent.jobs.supervisor.plan import LOG_DIRECTORY

_STEP_BYTES = 256 * 1024  # one look at the disk reads about this much
_SAFETY_SECONDS = 5.0  # a follower looks again after this long, in case a notice was lost


class Stream(Enum):
    """Where the job wrote."""

    STDOUT = STDOUT
    STDERR = STDERR


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Output of one stream. `offset` counts the job's bytes on both streams together.

    `missing_before` is how many bytes just before this chunk are gone: rotated away, or never stored on a full disk.
    """

    stream: Stream
    offset: int
    data: bytes
    time: datetime
    missing_before: int = 0

    @property
    def end_offset(self) -> int:
        """The offset to go on from."""
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class LogRead:
    """What one read found. `first_offset` is the lowest offset still on disk; go on from `next_offset`."""

    chunks: tuple[LogChunk, ...]
    first_offset: int
    next_offset: int


class LogCursor:
    """A place in one member's log that moves forward. Not for use by two at once."""

    def __init__(self, directory: Path, offset: int) -> None:
        self._directory = directory
        self.offset = max(0, offset)
        self._fd = -1
        self._buffer = b""
        self._buffer_position = 0  # where in the file the buffer begins
        self._index = 0  # where in the buffer the next record begins

    def close(self) -> None:
        """Give back the open file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, limit_bytes: int) -> list[LogChunk]:
        """Return what comes next, `limit_bytes` of it at most; nothing when the log does not go on yet."""
        chunks: list[LogChunk] = []
        parts: list[LogChunk] = []
        size = parts_size = 0
        while size < limit_bytes:
            piece = self._next(limit_bytes - size)
            if piece is None:
                break
            size += len(piece.data)
            full = parts_size + len(piece.data) > MAX_PAYLOAD_BYTES
            if parts and (full or piece.missing_before or piece.stream is not parts[0].stream):
                chunks.append(_joined(parts))
                parts, parts_size = [], 0
            parts.append(piece)
            parts_size += len(piece.data)
        if parts:
            chunks.append(_joined(parts))
        return chunks

    def _next(self, limit_bytes: int) -> LogChunk | None:
        while True:
            if self._fd < 0 and not self._open():
                return None
            record = self._record()
            if record is None:
                later = [start for start in segments(self._directory) if start > self._segment]
                if not later:
                    return None
                record = self._record()  # what was written before the log went on in another file
                if record is None:
                    if not self._open_segment(later[0]):
                        return None
                    continue
            stream, offset, time_us, payload = record
            if offset + len(payload) <= self.offset:
                continue  # before the place asked for
            start = max(0, self.offset - offset)
            data = payload[start : start + limit_bytes]
            if start + len(data) < len(payload):  # the rest of the record is for the next call
                self._index -= HEADER.size + len(payload)
            time = datetime.fromtimestamp(time_us / 1e6, UTC)
            chunk = LogChunk(Stream(stream), offset + start, data, time, max(0, offset - self.offset))
            self.offset = chunk.end_offset
            return chunk

    def _open(self) -> bool:
        """Open the segment that holds the offset, or the oldest one when that is gone."""
        found = segments(self._directory)
        best = max((s for s in found if s <= self.offset), default=found[0] if found else None)
        return best is not None and self._open_segment(best)

    def _open_segment(self, start: int) -> bool:
        try:
            fd = os.open(self._directory / segment_name(start), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self.close()
        self._fd = fd
        self._segment = start
        self._buffer, self._buffer_position, self._index = b"", 0, 0
        return True

    def _fill(self, size: int) -> bool:
        """Have at least this much in the buffer from the next record on; False at the end of the file."""
        while len(self._buffer) - self._index < size:
            self._buffer = self._buffer[self._index :]
            self._buffer_position += self._index
            self._index = 0
            data = os.pread(self._fd, _STEP_BYTES, self._buffer_position + len(self._buffer))
            if not data:
                return False
            self._buffer += data
        return True

    def _record(self) -> tuple[int, int, int, bytes] | None:
        if not self._fill(HEADER.size):
            return None
        magic, stream, length, offset, time_us = HEADER.unpack_from(self._buffer, self._index)
        if magic != MAGIC or stream not in {STDOUT, STDERR} or length > MAX_PAYLOAD_BYTES:
            return None  # a power cut left rubbish: what follows in this segment cannot be told apart
        if not self._fill(HEADER.size + length):
            return None
        start = self._index + HEADER.size
        payload = self._buffer[start : start + length]
        self._index = start + length
        return stream, offset, time_us, payload


def _joined(parts: list[LogChunk]) -> LogChunk:
    return parts[0] if len(parts) == 1 else replace(parts[0], data=b"".join(part.data for part in parts))


def segments(directory: Path) -> list[int]:
    """Return the first offsets of a log's segments, in order; empty when there is no log."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - each time that a job has written
    except FileNotFoundError:
        return []
    return sorted(start for name in names if (start := segment_offset(name)) is not None)


class JobLogs:
    """The logs of all members on this host."""

    def __init__(self, jobs_dir: Path, is_ended: Callable[[MemberKey], bool]) -> None:
        self._jobs_dir = jobs_dir
        self._is_ended = is_ended
        self._followers: dict[MemberKey, set[asyncio.Event]] = {}

    async def read(self, key: MemberKey, offset: int = 0, limit_bytes: int = _STEP_BYTES) -> LogRead:
        """Return output from `offset` on, `limit_bytes` at most; an unknown member has none."""
        return await asyncio.to_thread(self._read, key, offset, limit_bytes)

    async def follow(self, key: MemberKey, offset: int = 0) -> AsyncGenerator[LogChunk, None]:
        """Yield output from `offset` on as the job writes it, until the member has ended and all is read."""
        wake = asyncio.Event()
        self._followers.setdefault(key, set()).add(wake)
        cursor = LogCursor(self._path(key), offset)
        behind = True
        try:
            while True:
                wake.clear()
                ended = self._is_ended(key)
                # Catching up may wait for the disk; what was just written is in the page cache.
                chunks = await asyncio.to_thread(cursor.read, _STEP_BYTES) if behind else cursor.read(_STEP_BYTES)
                for chunk in chunks:
                    yield chunk
                behind = sum(len(chunk.data) for chunk in chunks) >= _STEP_BYTES
                if behind:
                    continue
                if ended:
                    return
                try:
                    async with asyncio.timeout(_SAFETY_SECONDS):
                        await wake.wait()
                except TimeoutError:
                    continue
        finally:
            cursor.close()
            followers = self._followers.get(key, set())
            followers.discard(wake)
            if not followers:
                self._followers.pop(key, None)

    def wake(self, key: MemberKey) -> None:
        """Have this member's followers look again."""
        for event in self._followers.get(key, ()):
            event.set()

    def _path(self, key: MemberKey) -> Path:
        return self._jobs_dir / str(key) / LOG_DIRECTORY

    def _read(self, key: MemberKey, offset: int, limit_bytes: int) -> LogRead:
        cursor = LogCursor(self._path(key), offset)
        try:
            chunks = tuple(cursor.read(limit_bytes))
        finally:
            cursor.close()
        first = segments(self._path(key))
        return LogRead(chunks, first[0] if first else 0, cursor.offset)
