"""One repair at a time on a host, whoever does it."""

import fcntl
import os
from pathlib import Path

from node_agent.files import make_directory


class HostLock:
    """Held while a repair is carried out; the kernel lets go when the process dies."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle = -1

    def acquire(self) -> int | None:
        """Take it: None if it is ours now, else the id of the process that repairs this host, or 0. Raises OSError."""
        make_directory(self._file.parent)
        handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(handle, 20, 0).decode(errors="replace").strip()
            os.close(handle)
            return int(text) if text.isdecimal() else 0
        except OSError:
            os.close(handle)
            raise
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        return None

    def release(self) -> None:
        """Let go; harmless if it is not held."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
