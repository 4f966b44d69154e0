"""Telling the daemon that something changed, if one listens: a hint only, the truth is on disk."""

from __future__ import annotations

import _socket as socket  # the module around it takes longer to load than a job takes to start
import time

STATUS = b"S"
LOG = b"L"
_LOG_PAUSE_SECONDS = 0.03
_BUSY_PAUSE_SECONDS = 0.02


class Notifier:
    """Sends datagrams to the daemon's socket; log notices are merged so that a chatty job costs the daemon little."""

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._name = name.encode()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._due: dict[bytes, float] = {}
        self._last_log = 0.0

    def status(self) -> None:
        """Tell that the status changed."""
        self._due[STATUS] = 0.0
        self.flush()

    def log(self) -> None:
        """Tell that there is more output."""
        self._due.setdefault(LOG, self._last_log + _LOG_PAUSE_SECONDS)
        self.flush()

    def flush(self) -> float | None:
        """Send what is due; return in how many seconds to call again, None when nothing waits."""
        now = time.monotonic()
        for kind, when in list(self._due.items()):
            if when > now:
                continue
            try:
                self._socket.sendto(kind + self._name, self._path)
            except BlockingIOError:
                self._due[kind] = now + _BUSY_PAUSE_SECONDS
                continue
            except OSError:
                pass  # no daemon at the moment: the next one reads everything from disk
            del self._due[kind]
            if kind == LOG:
                self._last_log = now
        return max(0.0, min(self._due.values()) - now) if self._due else None
