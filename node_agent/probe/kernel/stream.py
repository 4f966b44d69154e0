"""Lines out of a stream of bytes."""

import re
from typing import Final

_DICTIONARY: Final = re.compile(rb" [A-Z][A-Z0-9_]{0,60}=")


class LineSplitter:
    """Cuts chunks into lines of at most `maximum_bytes`; what is longer is cut, and its rest dropped."""

    def __init__(self, maximum_bytes: int) -> None:
        self._maximum = maximum_bytes
        self._partial = b""
        self._dropping = False

    def split(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in this chunk, without empty ones and those of a record's dictionary."""
        *ended, rest = chunk.split(b"\n")
        lines: list[bytes] = []
        for piece in ended:
            if not self._dropping:
                lines.append((self._partial + piece)[: self._maximum])
            self._partial, self._dropping = b"", False
        if not self._dropping:
            self._partial += rest
            if len(self._partial) > self._maximum:
                lines.append(self._partial[: self._maximum])
                self._partial, self._dropping = b"", True
        return [line for line in lines if line and not _DICTIONARY.match(line)]
