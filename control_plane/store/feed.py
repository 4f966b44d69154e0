"""The newest committed events in memory, once for everybody in this process who follows them.

Where this process alone writes, the writer hands over what it has committed, and nobody reads it back. Where several
control planes share a database, what all of them wrote is read from it, once for everybody, in the order of its
numbers: commits become visible in that order, so nothing can appear in between later. Who is further behind than
memory reaches reads the database.
"""

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import text
from sqlmodel import Session

from control_plane.model.record import Event, Noun
from control_plane.store import events
from control_plane.store.changes import Changes
from control_plane.store.transaction import Emitted, Tx

REMEMBERED_MAX: Final = 16_384
"""Events in memory, about 600 bytes each: those of a thousand hosts that fail at once. Who is further behind reads the
database."""

CHARACTERS_MAX: Final = 16 << 20
"""Of all their messages; most are short."""

PAGE: Final = 500
"""Events that are taken at once, unless another number is asked for."""

_READ_AT_ONCE: Final = 2_000
_CHANGED_MAX: Final = 16_384
_SEQUENCE: Final = attrgetter("sequence")


@dataclass(frozen=True, slots=True)
class News:
    """What a commit has added: `events` are all after `since`, up to `newest`. None: read them."""

    since: int
    newest: int
    events: tuple[Event, ...] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Events that follow a position, oldest first, of the nouns that were asked for.

    `position` is up to where there is none that is not among them; `more` tells that there may be some after it.
    Unless it is `whole`, what followed at first is not kept any more.
    """

    events: tuple[Event, ...]
    position: int
    more: bool = False
    whole: bool = True


def numbered(session: Session, since: int, emitted: Sequence[Emitted]) -> News:
    """Return the events that a transaction has written, with the numbers that the database gave them.

    `since` is the newest event before it; `emitted` are all events of it, or nothing if they are not to be told.
    """
    connection = session.connection()
    if not emitted:
        newest: int | None = connection.execute(text("SELECT max(sequence) FROM events")).scalar()
        return News(since, newest or since, None)
    found = connection.execute(
        text("SELECT count(*), min(sequence), max(sequence) FROM events WHERE sequence > :since"), {"since": since}
    )
    count, first, last = found.one()
    if count != len(emitted):  # somebody else wrote as well, or some were deleted at once
        return News(since, last or since, None)
    numbers: Collection[int] = range(first, last + 1)
    if len(numbers) != count:  # a sequence of PostgreSQL passes over the numbers of what was undone
        rows = connection.execute(
            text("SELECT sequence FROM events WHERE sequence > :since ORDER BY sequence"), {"since": since}
        )
        numbers = [row.sequence for row in rows]
    made = tuple(Event(number, *one) for number, one in zip(numbers, emitted, strict=True))
    return News(since, last, made)


class EventFeed:
    """Remembers the store's newest events. Belongs to one event loop. `newest` is how far memory reaches."""

    def __init__(self, changes: Changes, read: Callable[[Callable[[Tx], Any]], Awaitable[Any]]) -> None:
        """Any: what the function that is read with returns."""
        self._changes = changes
        self._read = read
        self._events: list[Event] = []
        self._characters = 0
        self._complete_after = changes.newest
        self._changed: OrderedDict[tuple[Noun, str], int] = OrderedDict()
        self._changed_complete_after = self._complete_after
        self._reading = asyncio.Lock()
        self.newest = self._complete_after

    @property
    def current(self) -> bool:
        """Whether memory holds every event that is committed."""
        return self.newest >= self._changes.newest

    def take(self, news: News) -> None:
        """Remember what was committed, unless something before it is lacking: then `catch_up` reads both."""
        if news.events is not None and news.since == self.newest:
            self._remember(news.events, news.newest)

    async def catch_up(self) -> None:
        """Read the events that memory lacks. Raises Unavailable when the store is away."""
        while not self.current:
            async with self._reading:
                if self.current:
                    return
                known = self._changes.newest
                page, whole = await self._read(partial(_after, position=self.newest))
                if page and whole:
                    self._remember(page, page[-1].sequence)
                else:  # what follows has been pruned
                    self._forget_before(page[0].sequence if page else known + 1)
                    self._remember(page, page[-1].sequence if page else known)

    def _remember(self, page: Sequence[Event], newest: int) -> None:
        self._events.extend(page)
        for event in page:
            self._characters += len(event.message)
            key = (event.noun, event.id)
            self._changed[key] = event.sequence
            self._changed.move_to_end(key)
            if len(self._changed) > _CHANGED_MAX:
                _, self._changed_complete_after = self._changed.popitem(last=False)
        self.newest = newest
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Keep no more than the bounds allow."""
        dropped, excess = 0, len(self._events) - REMEMBERED_MAX
        while dropped < excess or self._characters > CHARACTERS_MAX:
            self._characters -= len(self._events[dropped].message)
            dropped += 1
        if dropped:
            self._complete_after = self._events[dropped - 1].sequence
            del self._events[:dropped]

    def _forget_before(self, sequence: int) -> None:
        """Note that there is a hole before an event: nobody may take what is remembered for all there was."""
        self._events.clear()
        self._characters = 0
        self._changed.clear()
        self._complete_after = self._changed_complete_after = sequence - 1

    async def beyond(self, position: int) -> tuple[int, tuple[Event, ...] | None]:
        """Wait for events after `position`; return how far they reach, and them.

        None in their place: `position` is further back than memory; read the store.
        Raises Unavailable when the store is away or closed.
        """
        if self.newest <= position:
            await self._changes.wait_beyond(position)
            await self.catch_up()
        if position < self._complete_after:
            return self.newest, None
        return self.newest, self._following(position)

    async def reason(self, concerns: Callable[[Event], bool], position: int) -> int:
        """Wait for an event that concerns somebody; return the position that it follows, before which there is none.

        Returns as well if `position` is further back than memory: then nobody knows. Raises as `beyond`.
        """
        while True:
            newest, found = await self.beyond(position)
            if found is None:
                return position
            for event in found:
                if concerns(event):
                    return event.sequence - 1
            position = newest

    async def since(self, position: int, *, nouns: Collection[Noun] = (), limit: int = PAGE) -> Page:
        """Return the events that follow `position`, without waiting for any: from memory, or from the database.

        Whoever reads what they are about afterwards finds it as it was then, or later. Raises Unavailable.
        """
        await self.catch_up()
        if position < self._complete_after:
            found: Page = await self._read(partial(_page, position=position, nouns=tuple(nouns), limit=limit))
            return found
        of_these = (event for event in self._following(position) if not nouns or event.noun in nouns)
        following = tuple(islice(of_these, limit))
        if len(following) == limit:
            return Page(following, following[-1].sequence, more=True)
        return Page(following, max(position, self.newest))

    def _following(self, position: int) -> tuple[Event, ...]:
        return tuple(self._events[bisect_right(self._events, position, key=_SEQUENCE) :])

    def unchanged_since(self, noun: Noun, item_id: str, sequence: int) -> bool:
        """Whether memory knows for sure that a thing has no event after `sequence` up to `newest`."""
        return sequence >= self._changed_complete_after and self._changed.get((noun, item_id), 0) <= sequence


def _after(tx: Tx, position: int) -> tuple[tuple[Event, ...], bool]:
    """Return the next events, and whether those before them are still kept."""
    whole = events.oldest(tx) <= position + 1
    return events.after(tx, position, limit=_READ_AT_ONCE), whole


def _page(tx: Tx, position: int, nouns: tuple[Noun, ...], limit: int) -> Page:
    newest, oldest = events.newest(tx), events.oldest(tx)
    found = events.after(tx, position, limit=limit, nouns=nouns)
    more = len(found) == limit
    return Page(found, found[-1].sequence if more else max(position, newest), more, oldest <= position + 1)
