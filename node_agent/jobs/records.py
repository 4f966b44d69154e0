"""The form of a job's log on disk, shared by the supervisor that writes it and the daemon that reads it.

A log is a directory of segments. A segment is a file named after the offset of its first byte, and holds records:
a fixed header, then the bytes as the job wrote them. Offsets count the job's own bytes on both streams together,
so they stay valid when old segments are deleted. Bytes that could not be stored (full disk) still count, which
leaves a visible gap. Standard library only: the supervisor imports this.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("<2sBxIQQ")
"""Magic, stream, padding, payload length in bytes, payload offset in bytes, wall-clock time in microseconds."""

MAGIC = b"OQ"
STDOUT = 1
STDERR = 2
MAX_PAYLOAD_BYTES = 64 * 1024
"""One record holds at most this much, so a line without an end cannot grow without a bound."""

_SUFFIX = ".log"
_DIGITS = 20


def segment_name(offset: int) -> str:
    """Return the file name of the segment whose first payload byte has this offset."""
    return f"{offset:0{_DIGITS}d}{_SUFFIX}"


def segment_offset(name: str) -> int | None:
    """Return the offset in a segment's file name, or None when the file is not a segment."""
    digits, dot, rest = name.partition(".")
    if dot + rest != _SUFFIX or len(digits) != _DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    return int(digits)
