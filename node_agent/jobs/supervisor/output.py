"""What a job writes, on its way from its pipes into its log."""

from __future__ import annotations

import contextlib
import os
import select

from node_agent.jobs.records import MAX_PAYLOAD_BYTES, STDERR, STDOUT
from node_agent.jobs.supervisor.child import Pipes
from node_agent.jobs.supervisor.log_writer import LogWriter
from node_agent.jobs.supervisor.notices import Notifier

_DRAIN_BYTES = 16 * 1024 * 1024  # after the job: what its pipes can still hold is far less
_LAST_WORDS_BYTES = 600


class Output:
    """Standard output and error of one job."""

    def __init__(self, poll: select.poll, log: LogWriter, notifier: Notifier) -> None:
        self._poll = poll
        self.log = log
        self._notifier = notifier
        self._streams: dict[int, int] = {}
        self._last_words = b""

    @property
    def last_words(self) -> str:
        """The end of what came on standard error."""
        return self._last_words.decode(errors="replace").strip()

    def open(self, pipes: Pipes) -> None:
        """Follow these pipes."""
        self._streams = {pipes.out_read: STDOUT, pipes.err_read: STDERR}
        for fd in self._streams:
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)

    def take(self, fd: int) -> bool:
        """Take what can be read from a descriptor; False if it is none of the job's."""
        if fd not in self._streams:
            return False
        self._pump(fd)
        return True

    def drain(self) -> None:
        """Take the rest, up to a bound, and close the log."""
        left = _DRAIN_BYTES
        while left > 0:
            took = sum(self._pump(fd) for fd in list(self._streams))
            if took == 0:
                break
            left -= took
        self.log.close()

    def _pump(self, fd: int) -> int:
        data = read_or_none(fd, MAX_PAYLOAD_BYTES)
        if data is None:
            return 0
        if not data:
            with contextlib.suppress(KeyError):
                self._poll.unregister(fd)
            del self._streams[fd]
            return 0
        self.log.append(self._streams[fd], data)
        if self._streams[fd] == STDERR:
            self._last_words = (self._last_words + data)[-_LAST_WORDS_BYTES:]
        self._notifier.log()
        return len(data)


def read_or_none(fd: int, limit: int) -> bytes | None:
    """Return what can be read now, b"" at the end, None when there is nothing at the moment."""
    try:
        return os.read(fd, limit)
    except BlockingIOError:
        return None
    except OSError:
        return b""
