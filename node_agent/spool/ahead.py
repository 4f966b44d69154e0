"""A mark of which sequence numbers may have been used without their records being on disk.

On a full disk records go out over the link from memory. If the daemon then died, the next one would give the same
numbers to other records, and the control plane would take those for repeats. The mark is overwritten in place, which
needs no free space.
"""

import errno
import os
from pathlib import Path

_DIGITS = 20
_STEP = 10_000  # numbers marked at once, so that not every record costs a write


class AheadMark:
    """Holds one number on disk: sequences up to it may be in the books."""

    def __init__(self, file: Path) -> None:
        """Make the file if there is none; raises OSError."""
        self._file = file
        self._value = _read(file)
        if self._value is None:
            self._write(0)

    @property
    def value(self) -> int:
        """The number; 0 if no record was ever sent from memory."""
        return self._value or 0

    def cover(self, sequence: int) -> bool:
        """Mark `sequence` as used; return False if that could not be written, so that it must not be sent."""
        if sequence <= self.value:
            return True
        try:
            self._write(sequence + _STEP)
        except OSError:
            return False
        return True

    def clear(self) -> None:
        """Every record is on disk again. A failure is harmless: some numbers are then skipped after a restart."""
        if self.value:
            try:
                self._write(0)
            except OSError:
                return

    def _write(self, value: int) -> None:
        handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            text = b"%0*d\n" % (_DIGITS, value)
            if os.pwrite(handle, text, 0) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))
            os.fdatasync(handle)
        finally:
            os.close(handle)
        self._value = value


def _read(file: Path) -> int | None:
    try:
        return int(file.read_bytes()[:_DIGITS])
    except (FileNotFoundError, ValueError):
        return None
