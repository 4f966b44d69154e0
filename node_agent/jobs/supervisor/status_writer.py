"""The member's status on disk: replaced whole at each change, and sure to be written in the end."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH105, PTH118, PTH120
from __future__ import annotations

import json
import os
import time

from node_agent.jobs.supervisor.plan import STATUS_FILE

_RESERVED_BYTES = 8192
_RETRY_SECONDS = 1.0

Fields = dict[str, object]


class StatusWriter:
    """Writes status.json in the current directory.

    Room for the last status is taken up when the job starts, so that a disk that fills up later cannot lose a result.
    """

    def __init__(self, directory: str) -> None:
        self.fields: Fields = {}
        self.pending = False
        self._path = os.path.join(directory, STATUS_FILE)
        self._draft = self._path + ".draft"
        self._reserve = self._path + ".reserve"

    def reserve(self) -> None:
        """Take up the room for the last status. Raises OSError when the disk has none."""
        _write_whole(self._reserve, b" " * _RESERVED_BYTES, truncate=True)

    def update(self, **changes: object) -> None:
        """Change fields and replace the file; what the disk refuses now is `pending` until the next call."""
        self.fields.update(changes)
        try:
            _write_whole(self._draft, self._encode(), truncate=True)
            os.replace(self._draft, self._path)
            self.pending = False
        except OSError:
            self.pending = True

    def finish(self, **changes: object) -> None:
        """Write the last status to survive a power cut; tries until the disk takes it or the directory is gone."""
        self.fields.update(changes)
        while True:
            try:
                _write_whole(self._reserve, self._encode().ljust(_RESERVED_BYTES), truncate=False)
                os.replace(self._reserve, self._path)
                _sync_directory(os.path.dirname(self._path))
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(_RETRY_SECONDS)
            else:
                return

    def _encode(self) -> bytes:
        return json.dumps(self.fields).encode()


def _write_whole(path: str, content: bytes, *, truncate: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0)
    fd = os.open(path, flags, 0o600)
    try:
        while content:
            content = content[os.write(fd, content) :]
        if not truncate:
            os.fsync(fd)
    finally:
        os.close(fd)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
