"""How the daemon and its probe talk: JSON after its length, over a socket.

JSON, because the daemon must survive whatever a broken probe sends: `marshal` is quicker (0.05 instead of 0.12 ms
for a sample of 8 GPUs) but may crash on garbage, and protobuf would cost the probe 2.5 MB.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

MAXIMUM_FRAME_BYTES: Final = 1024 * 1024
"""The bound on one frame: 16 GPUs with 256 processes and 18 links each take a fifth of it."""
LENGTH: Final = struct.Struct("<I")


class BadFrame(Exception):
    """What came over the socket is no frame."""


def encode(value: Any) -> bytes:
    """Return a frame. Any: whatever JSON can hold.

    Raises:
        BadFrame: the value is too large.
    """
    body = json.dumps(value, separators=(",", ":")).encode()
    if len(body) > MAXIMUM_FRAME_BYTES:
        raise BadFrame(f"a frame of {len(body)} bytes is longer than {MAXIMUM_FRAME_BYTES}")
    return LENGTH.pack(len(body)) + body


def decode(body: bytes | bytearray) -> Any:
    """Return what a frame holds, without its length. Any: whatever JSON can hold.

    Raises:
        BadFrame: it is no JSON.
    """
    try:
        value = json.loads(bytes(body))
        if b"\\ud" in body.lower():  # half a character, which no message could hold, is told apart from whole ones
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"not JSON: {error}") from error
    return value


class Frames:
    """Puts frames together from pieces as they arrive. Holds at most one frame and one piece."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield what each frame holds that is complete now. Any: whatever JSON can hold.

        Raises:
            BadFrame: the other side does not keep to the form; nothing can be read from it any more.
        """
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > MAXIMUM_FRAME_BYTES:
                raise BadFrame(f"a frame of {length} bytes is announced, {MAXIMUM_FRAME_BYTES} is the most")
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = self._buffer[LENGTH.size : end]
            del self._buffer[:end]
            yield decode(body)
