"""One daemon per state directory."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from node_agent.errors import AlreadyRunning, StateUnusable
from node_agent.files import make_directory

_FILE = "daemon.lock"


class StateLock:
    """Holds the state directory from `with` to its end; the kernel lets go when the process dies."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / _FILE
        self._handle = -1

    def __enter__(self) -> Self:
        """Take the directory; raises AlreadyRunning or StateUnusable."""
        try:
            make_directory(self._file.parent)
            self._handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateUnusable(
                f"The state directory {self._file.parent} cannot be used: {error.strerror}. "
                "Fix its owner or free some space, or name another with --state-dir."
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._handle, 20, 0).decode(errors="replace").strip()
            os.close(self._handle)
            raise AlreadyRunning(
                f"Another daemon (pid {pid or 'unknown'}) uses {self._file.parent}. "
                "Stop it, or give this one a directory of its own with --state-dir."
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)


def holder(state_dir: Path) -> int | None:
    """Return the process id of the daemon that uses a state directory, or None if none does."""
    try:
        handle = os.open(state_dir / _FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(handle, 20, 0).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(handle)
    return None
