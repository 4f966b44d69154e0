"""Files of the audit: checkpoints kept outside the database, and archives. Each line is there whole, or not at all."""

import hashlib
import io
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from orquanta.ledger.checkpoint import Checkpoint
from orquanta.ledger.export_file import read_lines
from orquanta.ledger.signatures import is_signed_by

_PRIVATE: Final = 0o600
_TAIL_BYTES: Final = 64 << 10
"""How much of a file of checkpoints is looked at for the last one: some hundred lines."""


class Archiving:
    """A file that appears under its name only once it is whole and on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._part.chmod(_PRIVATE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def line(self, text: str) -> None:
        """Add a line."""
        data = text.encode("utf-8", "surrogatepass") + b"\n"
        self._digest.update(data)
        self._file.write(data)

    def finish(self) -> str:
        """Put the file in its place and return its SHA-256, in hex."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._digest.hexdigest()


def append_line(path: Path, line: str) -> None:
    """Add a line and wait until it is on the disk; what a crash or a full disk left of an earlier one goes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        _drop_torn(file)
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def last_checkpoint(path: Path, public_key: bytes) -> Checkpoint | None:
    """Return the last checkpoint in a file that this key has signed, or None. Raises OSError."""
    try:
        with path.open("rb") as file:
            tail = _tail(file)
    except FileNotFoundError:
        return None
    for line in reversed(tail.decode("utf-8", "replace").split("\n")):
        try:
            parts = list(read_lines(io.StringIO(line)))
        except ValueError:
            continue
        for part in parts:
            if isinstance(part, Checkpoint) and is_signed_by(part, public_key):
                return part
    return None


def _tail(file: BinaryIO) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _TAIL_BYTES, 0))
    return file.read(_TAIL_BYTES)


def _drop_torn(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    tail = _tail(file)
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    if 0 < torn < _TAIL_BYTES:
        file.truncate(size - torn)
