"""Where supervisors tell the daemon that something changed."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from node_agent.jobs.plan import NOTICE_SOCKET
from node_agent.jobs.spec import MemberKey
from node_agent.jobs.supervisor import notices

_RECEIVE_BUFFER_BYTES = 1024 * 1024
_MAX_NOTICE_BYTES = 256
_BATCH = 256


class NoticeSocket:
    """A datagram socket in the jobs' directory. Notices are hints: what they speak of is on disk."""

    def __init__(
        self, jobs_dir: Path, on_status: Callable[[MemberKey], None], on_log: Callable[[MemberKey], None]
    ) -> None:
        self._handlers = {notices.STATUS: on_status, notices.LOG: on_log}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        with contextlib.suppress(FileNotFoundError):
            (jobs_dir / NOTICE_SOCKET).unlink()
        fd = os.open(jobs_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # through /proc, for an address holds at most 107 bytes and a state directory's path may be longer
            self._socket.bind(f"/proc/self/fd/{fd}/{NOTICE_SOCKET}")
        finally:
            os.close(fd)
        (jobs_dir / NOTICE_SOCKET).chmod(0o600)

    def start(self) -> None:
        """Begin to call the handlers from the running event loop."""
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Stop listening; supervisors go on and find the next daemon's socket."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _receive(self) -> None:
        for _ in range(_BATCH):
            try:
                data = self._socket.recv(_MAX_NOTICE_BYTES)
            except BlockingIOError:
                return
            handler = self._handlers.get(data[:1])
            key = MemberKey.parse(data[1:].decode("ascii", "replace"))
            if handler is not None and key is not None:
                handler(key)
