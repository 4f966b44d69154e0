"""Work that keeps a processor busy, in worker threads: a few at a time, and only so many waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from control_plane.errors import ResourceExhausted
from control_plane.services.status import RETRY_AFTER_SECONDS

_Result = TypeVar("_Result")


class Bounded:
    """Runs functions in worker threads, at most `at_once`, while at most `waiting` others wait."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._inside = 0

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Return what `function` returns. Raises ResourceExhausted when too many wait."""
        return await self.wait(lambda: asyncio.to_thread(function))

    async def wait(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """Await work that finds its threads by itself, within the same bounds."""
        if self._inside >= self._room:
            raise ResourceExhausted(
                "the control plane is busy with calls like this one; retry in a second",
                reason="TOO_BUSY",
                metadata={RETRY_AFTER_SECONDS: "1"},
            )
        self._inside += 1
        try:
            async with self._slots:
                return await work()
        finally:
            self._inside -= 1
