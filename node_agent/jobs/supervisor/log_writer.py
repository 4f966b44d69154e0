"""Writing a job's output to disk: as it comes, rotated, bounded, and never in the job's way."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH108, PTH118
from __future__ import annotations

import os
import time

from node_agent.jobs.records import HEADER, MAGIC, segment_name


class LogWriter:
    """Appends records to segments in one directory and deletes the oldest ones.

    A disk that is full or broken costs log bytes, never the job: what cannot be stored is counted in
    `dropped_bytes` and leaves a gap in the offsets.
    """

    def __init__(self, directory: str, segment_bytes: int, segments: int) -> None:
        self.offset = 0
        self.dropped_bytes = 0
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._segments = max(2, segments)
        self._names: list[str] = []
        self._fd = -1
        self._size = 0

    def append(self, stream: int, payload: bytes) -> None:
        """Store one piece of output of at most MAX_PAYLOAD_BYTES."""
        header = HEADER.pack(MAGIC, stream, len(payload), self.offset, time.time_ns() // 1000)
        if self._fd < 0 or (self._size > 0 and self._size + len(header) + len(payload) > self._segment_bytes):
            self._next_segment()
        if self._fd < 0 or not self._write(header, payload):
            self.dropped_bytes += len(payload)
        self.offset += len(payload)

    def close(self) -> None:
        """Close the segment being written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, header: bytes, payload: bytes) -> bool:
        wanted = len(header) + len(payload)
        try:
            written = os.writev(self._fd, (header, payload))
        except OSError:
            written = 0
        if written == wanted:
            self._size += wanted
            return True
        try:
            os.ftruncate(self._fd, self._size)  # half a record must not hide the whole ones that follow it
        except OSError:
            self.close()
        return False

    def _next_segment(self) -> None:
        name = segment_name(self.offset)
        try:
            fd = os.open(
                os.path.join(self._directory, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
        except OSError:
            return  # the segment at hand grows past its size, or the bytes are dropped
        self.close()
        self._fd = fd
        self._size = os.fstat(fd).st_size
        if name not in self._names:
            self._names.append(name)
        while len(self._names) > self._segments:
            try:
                os.unlink(os.path.join(self._directory, self._names[0]))
            except FileNotFoundError:
                pass
            except OSError:
                return
            del self._names[0]
