"""Lets what can wait do so while many hosts have failed at once: all of a control plane shares one interpreter."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LONGEST_WAIT_SECONDS: Final = 5.0
"""How long the patient wait before each of their rounds, however long something is urgent."""

STORM: Final = 32
"""So many hosts with something to do about them at once are urgent."""

LINGER_SECONDS: Final = 0.5
"""A storm's nodes come in several batches; between two of them it is not over."""

_COMING_SECONDS: Final = 0.5


class Urgency:
    """What the parts of one control plane tell each other about it. Belongs to one event loop."""

    def __init__(
        self, *, longest_wait_seconds: float = LONGEST_WAIT_SECONDS, linger_seconds: float = LINGER_SECONDS
    ) -> None:
        self._longest_wait_seconds = longest_wait_seconds
        self._linger_seconds = linger_seconds
        self._under_way = 0
        self._coming = 0
        self._come = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()
        self._ending: asyncio.TimerHandle | None = None

    @property
    def is_urgent(self) -> bool:
        """Whether something is urgent now, or was a moment ago."""
        return not self._calm.is_set()

    @property
    def more_to_come(self) -> bool:
        """Whether hosts that have failed are just being written down."""
        return self._coming > 0

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Be urgent, and have those wait who would rather know of all hosts that have failed."""
        self._coming += 1
        try:
            with self.urgent():
                yield
        finally:
            self._coming -= 1
            if not self._coming:
                self._come.set()
                self._come = asyncio.Event()

    async def all_come(self) -> None:
        """Return once no more are being written down, or when that takes too long."""
        if self._coming:
            try:
                async with asyncio.timeout(_COMING_SECONDS):
                    await self._come.wait()
            except TimeoutError:
                pass

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Have the patient wait meanwhile, and for a moment afterwards."""
        self._under_way += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if self._ending is not None:
                self._ending.cancel()
            self._ending = asyncio.get_running_loop().call_later(self._linger_seconds, self._end)

    def _end(self) -> None:
        if not self._under_way:
            self._calm.set()

    async def calm(self) -> None:
        """Return once nothing is urgent, or when that takes too long."""
        try:
            async with asyncio.timeout(self._longest_wait_seconds):
                await self._calm.wait()
        except TimeoutError:
            pass
