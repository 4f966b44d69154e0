"""One member's output in one file of frames, append-only; the only module that knows the format.

A frame holds one chunk as the host sent it. Offsets are in bytes of the member's output, counted by the host from
its first byte, so that a repeat is recognised and what is missing is known. All functions here block.

    frame   32 bytes: magic "OQL1", flags (1: nothing follows), 3 zero bytes, length of the body, CRC-32 of the rest
            of the header and the body, offset of the first byte of output, offset after the last one
    body    records: stream (1 stdout, 2 stderr), when the host read it in microseconds since 1970, length, output
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from control_plane.model.ids import AllocationId, JobId

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
"""No frame is larger; the broker's largest message is 1 MiB."""

_MAGIC: Final = b"OQL1"
_HEADER: Final = struct.Struct("<4sB3xIIQQ")
_RECORD: Final = struct.Struct("<BqI")
_END: Final = 1
_CRC_AT: Final = 12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class LogStream(Enum):
    """Which stream of a process wrote it; the values are those of the contract."""

    STDOUT = 1
    STDERR = 2


@dataclass(frozen=True, slots=True)
class LogRecord:
    """Output of one stream as the host read it at one moment."""

    stream: LogStream
    data: bytes
    read_at: datetime


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of a member's output, from byte `offset` up to, not including, byte `next_offset`."""

    job_id: JobId
    allocation_id: AllocationId
    epoch: int
    rank: int
    offset: int
    next_offset: int
    records: tuple[LogRecord, ...]
    end: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """A stored chunk, where it stands in its file, and where the next one does."""

    offset: int
    next_offset: int
    end: bool
    body: bytes
    position: int
    next_position: int

    def records(self) -> Iterator[tuple[int, LogRecord]]:
        """Yield each record behind the offset after its last byte."""
        end_offset = self.next_offset - sum(len(data) for _, _, data in _split(self.body))
        for stream, micros, data in _split(self.body):
            end_offset += len(data)
            yield end_offset, LogRecord(LogStream(stream), data, _EPOCH + micros * _MICROSECOND)


class Appended(Enum):
    """What became of a chunk."""

    STORED = "stored"
    REPEAT = "repeat"
    GAP = "gap"
    """Not stored: what comes before it has not arrived."""


@dataclass(slots=True)
class MemberLog:
    """The end of one member's file: how long it is and which byte of output comes next."""

    path: Path
    size: int = 0
    next_offset: int = 0
    ended: bool = False

    @classmethod
    def open(cls, path: Path) -> "MemberLog":
        """Find the end of the file, and cut off a frame that a crash left half written. Raises OSError."""
        member = cls(path)
        try:
            with path.open("r+b") as file:
                for frame in frames(file):
                    member.size = frame.next_position
                    member.next_offset = frame.next_offset
                    member.ended = member.ended or frame.end
                torn = file.seek(0, os.SEEK_END) - member.size
                if torn:
                    log.warning("job_log.tail_cut", path=str(path), bytes=torn)
                    file.truncate(member.size)
        except FileNotFoundError:
            pass
        return member

    def append(self, chunks: Sequence[tuple[LogChunk, bool]], *, max_bytes: int) -> list[Appended]:
        """Write chunks in order and sync them; return what became of each, and how the file's size changed.

        The flag beside a chunk says that what is missing before it is lost and need not be waited for. Past
        `max_bytes` the older half of the file is dropped. After an OSError nothing of this call is stored.
        """
        before = replace(self)
        outcomes = []
        pieces = []
        for chunk, accept_gap in chunks:
            outcome, piece = self._accept(chunk, accept_gap=accept_gap)
            outcomes.append(outcome)
            pieces.append(piece)
        data = b"".join(pieces)
        if data:
            try:
                self._write(data, before.size)
            except OSError:
                self.next_offset, self.ended = before.next_offset, before.ended
                raise
            self.size += len(data)
            if self.size > max_bytes:
                self.drop_older_half()
        return outcomes

    def drop_older_half(self) -> None:
        """Rewrite the file without its older half; the offset of what is left tells how much is gone."""
        target = self.path.with_suffix(".rewrite")
        with self.path.open("rb") as source, target.open("wb") as copy:
            start = 0
            for frame in frames(source):
                start = frame.position  # the newest frame stays, however large it is
                if start >= self.size // 2:
                    break
            source.seek(start)
            while data := source.read(1024 * 1024):
                copy.write(data)
            copy.flush()
            os.fsync(copy.fileno())
        target.replace(self.path)
        self.size -= start
        log.info("job_log.older_half_dropped", path=str(self.path), bytes=start)

    def _accept(self, chunk: LogChunk, *, accept_gap: bool) -> tuple[Appended, bytes]:
        fresh_bytes = chunk.next_offset - self.next_offset
        if self.ended or (fresh_bytes <= 0 and not (chunk.end and fresh_bytes == 0)):
            return Appended.REPEAT, b""
        if chunk.offset > self.next_offset and not accept_gap:
            return Appended.GAP, b""
        start = max(chunk.offset, self.next_offset)
        records = _newest(chunk.records, chunk.next_offset - start)
        self.next_offset, self.ended = chunk.next_offset, chunk.end
        return Appended.STORED, _encode(start, chunk.next_offset, records, end=chunk.end)

    def _write(self, data: bytes, size: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            try:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)  # what a full disk let through is half a frame
                raise


def frames(file: BinaryIO, position: int = 0) -> Iterator[Frame]:
    """Yield whole frames from `position` on; end before the first that is incomplete or damaged."""
    file.seek(position)
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        magic, flags, length, crc, offset, next_offset = _HEADER.unpack(header)
        if magic != _MAGIC or length > MAX_BODY_BYTES:
            return
        body = file.read(length)
        if len(body) != length or _crc(header, body) != crc:
            return
        following = position + _HEADER.size + length
        yield Frame(offset, next_offset, bool(flags & _END), body, position, following)
        position = following


def _encode(offset: int, next_offset: int, records: Sequence[LogRecord], *, end: bool) -> bytes:
    body = b"".join(
        _RECORD.pack(record.stream.value, (record.read_at - _EPOCH) // _MICROSECOND, len(record.data)) + record.data
        for record in records
    )
    header = bytearray(_HEADER.pack(_MAGIC, _END if end else 0, len(body), 0, offset, next_offset))
    struct.pack_into("<I", header, _CRC_AT, _crc(bytes(header), body))
    return bytes(header) + body


def _crc(header: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(header[:_CRC_AT] + header[_CRC_AT + 4 :]))


def _split(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(body):
        stream, micros, length = _RECORD.unpack_from(body, at)
        at += _RECORD.size + length
        yield stream, micros, body[at - length : at]


def _newest(records: Sequence[LogRecord], keep_bytes: int) -> list[LogRecord]:
    """The last `keep_bytes` of output: all of it, unless the chunk's beginning is stored already."""
    kept: list[LogRecord] = []
    for record in reversed(records):
        if keep_bytes <= 0:
            break
        data = record.data[-keep_bytes:]
        kept.append(record if len(data) == len(record.data) else replace(record, data=data))
        keep_bytes -= len(data)
    return kept[::-1]
