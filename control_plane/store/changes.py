"""Wakes those who wait for a change: a number that only grows."""

import asyncio
from typing import Final

from control_plane.errors import Unavailable

SHUTTING_DOWN: Final = "SHUTTING_DOWN"


class Changes:
    """The newest event's sequence number, and a way to wait for a newer one. Belongs to one event loop."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        self._closed = False
        self._waiters: set[asyncio.Future[None]] = set()

    def advance(self, newest: int) -> None:
        """Tell that events up to `newest` are committed."""
        if newest > self.newest:
            self.newest = newest
            self._wake()

    async def wait_beyond(self, sequence: int) -> int:
        """Return the newest sequence number as soon as it is above `sequence`.

        Raises Unavailable once the store is closed.
        """
        while self.newest <= sequence:
            if self._closed:
                raise Unavailable("the control plane is shutting down; reconnect", reason=SHUTTING_DOWN)
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self.newest

    def close(self) -> None:
        """Send everybody away."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
