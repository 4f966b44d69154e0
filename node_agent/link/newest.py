"""A slot that holds the newest of something."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Holds one item; a newer one replaces what was not taken yet."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._filled = asyncio.Event()

    def put(self, item: T) -> None:
        """Put `item` in place of what is there."""
        self._items[:] = [item]
        self._filled.set()

    def clear(self) -> None:
        """Forget what was not taken."""
        self._items.clear()
        self._filled.clear()

    async def take(self) -> T:
        """Wait for an item and take it."""
        while not self._items:  # it may have been cleared between the wake-up and here
            await self._filled.wait()
        self._filled.clear()
        return self._items.pop()
