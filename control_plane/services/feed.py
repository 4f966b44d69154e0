"""The newest events in memory, read from the store once for everybody who waits for them.

A hundred open streams cost one query for each commit, not a hundred; only those whose things changed go on to
read them.
"""

import asyncio
from collections import OrderedDict, deque
from functools import partial
from typing import Final

from control_plane.model.record import Event, Noun
from control_plane.store import events
from control_plane.store.database import Store

REMEMBERED_MAX: Final = 4_096
"""Events in memory, about 400 bytes each. Who is further behind reads the store."""

_PAGE: Final = 500
_CHANGED_MAX: Final = 16_384


class EventFeed:
    """Follows the store's events. `newest` is how far this memory reaches."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: deque[Event] = deque(maxlen=REMEMBERED_MAX)
        self._complete_after = store.changes.newest
        self._changed: OrderedDict[tuple[Noun, str], int] = OrderedDict()
        self._changed_complete_after = self._complete_after
        self._reading = asyncio.Lock()
        self.newest = self._complete_after

    @property
    def current(self) -> bool:
        """Whether memory holds every event that is committed."""
        return self.newest >= self._store.changes.newest

    async def catch_up(self) -> None:
        """Read the events that memory lacks. Raises Unavailable when the store is away."""
        while not self.current:
            async with self._reading:
                if self.current:
                    return
                page = await self._store.read(partial(events.after, sequence=self.newest, limit=_PAGE))
                if not page:  # pruned, or a sequence number that a rollback left unused
                    self.newest = max(self.newest, self._store.changes.newest)
                    return
                self._remember(page)

    def _remember(self, page: tuple[Event, ...]) -> None:
        for event in page:
            if len(self._events) == REMEMBERED_MAX:
                self._complete_after = self._events[0].sequence
            self._events.append(event)
            key = (event.noun, event.id)
            self._changed[key] = event.sequence
            self._changed.move_to_end(key)
            if len(self._changed) > _CHANGED_MAX:
                _, self._changed_complete_after = self._changed.popitem(last=False)
        self.newest = page[-1].sequence

    async def beyond(self, position: int) -> tuple[int, tuple[Event, ...] | None]:
        """Wait for events after `position`; return how far they reach, and them.

        None in their place: `position` is further back than memory; read the store.
        Raises Unavailable when the store is away or closed.
        """
        if self.newest <= position:
            await self._store.changes.wait_beyond(position)
            await self.catch_up()
        if position < self._complete_after:
            return self.newest, None
        found: list[Event] = []
        for event in reversed(self._events):
            if event.sequence <= position:
                break
            found.append(event)
        return self.newest, tuple(reversed(found))

    def unchanged_since(self, noun: Noun, item_id: str, sequence: int) -> bool:
        """Whether memory knows for sure that a thing has no event after `sequence` up to `newest`."""
        return sequence >= self._changed_complete_after and self._changed.get((noun, item_id), 0) <= sequence
