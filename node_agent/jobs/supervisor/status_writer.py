"""The member's status on disk: replaced whole at each change, and sure to be written in the end."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH105, PTH118
from __future__ import annotations

import json
import os
import time

from node_agent.jobs.supervisor.plan import STATUS_FILE

_RESERVED_BYTES = 8192
_RETRY_SECONDS = 1.0

Fields = dict[str, object]


def reserve(directory: str) -> None:
    """Take up the room for a member's last status, so that a disk that fills up later cannot lose a result.

    Raises OSError when the disk has none.
    """
    _write_whole(_reserve_path(directory), b" " * _RESERVED_BYTES, truncate=True)


def write_last(directory: str, fields: Fields) -> None:
    """Write a member's last status to survive a power cut, in the room reserved for it. Raises OSError."""
    path = _reserve_path(directory)
    _write_whole(path, json.dumps(fields).encode().ljust(_RESERVED_BYTES), truncate=False)
    os.replace(path, os.path.join(directory, STATUS_FILE))
    _sync_directory(directory)


class StatusWriter:
    """Writes one member's status."""

    def __init__(self, directory: str) -> None:
        self.fields: Fields = {}
        self.pending = False
        self._directory = directory

    def update(self, **changes: object) -> None:
        """Change fields and replace the file; what the disk refuses now is `pending` until the next call."""
        self.fields.update(changes)
        path = os.path.join(self._directory, STATUS_FILE)
        try:
            _write_whole(path + ".draft", json.dumps(self.fields).encode(), truncate=True)
            os.replace(path + ".draft", path)
            self.pending = False
        except OSError:
            self.pending = True

    def finish(self, **changes: object) -> None:
        """Write the last status; tries until the disk takes it or the directory is gone."""
        self.fields.update(changes)
        while True:
            try:
                write_last(self._directory, self.fields)
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(_RETRY_SECONDS)
            else:
                return


def _reserve_path(directory: str) -> str:
    return os.path.join(directory, STATUS_FILE + ".reserve")


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
