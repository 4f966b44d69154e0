"""Files that a job writes its output to, as they grow."""

from pathlib import Path
from typing import BinaryIO, Final

COPY_BYTES: Final = 256 * 1024
"""As much is copied at once."""


def copy_on(path: Path, stream: BinaryIO, offset: int) -> int:
    """Copy what a file has beyond the offset, up to a bound; return how many bytes."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(COPY_BYTES)
    except OSError:
        return 0
    if data:
        stream.write(data)
        stream.flush()
    return len(data)


def size_bytes(path: Path) -> int:
    """Return how much a file has; nothing if it cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
