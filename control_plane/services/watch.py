"""One watch for everything: the current state first, then each thing after it changed, resumable without loss.

What is sent is state, not history: a thing that changed five times while its reader was slow is sent once, as it
is now. A reader takes what it can, when it can; nothing is queued for it here.

A resume token names the last event that the reader has seen the effects of. Within one batch, things are sent in
the order of their newest event, so that resuming in the middle of a batch repeats nothing that was sent and skips
nothing that was not. While the current state is being sent, tokens are empty: a reader that is cut then starts over.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from control_plane.errors import InvalidArgument, OutOfRange
from control_plane.model.record import Event
from control_plane.store import events
from control_plane.store.database import Store, Tx
from control_plane.store.feed import EventFeed
from control_plane.store.readable import read_each

_PAGE: Final = 200
"""Events behind one batch of changes: a stream holds no more things than this while its reader is slow."""
_TOKEN_VERSION: Final = 1
_TOKEN: Final = struct.Struct(">BQ8s")
_SCOPE_BYTES: Final = 8

_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Watched(Generic[_Key, _Item]):
    """What one stream is about.

    `scope` tells streams apart, so that a token of one is refused by another. `concerns` tells which thing an event
    is about, or None. `current` loads everything, `load` the given things (what is gone is left out), and `ended`
    whether nothing can follow; all three run in a transaction. Where everything can be much, `current_page` loads a
    part of it instead, after a page token, and returns the next one: a stream holds one part at a time.
    """

    scope: tuple[str, ...]
    concerns: Callable[[Event], _Key | None]
    current: Callable[[Tx], Sequence[_Item]]
    load: Callable[[Tx, Iterable[_Key]], Mapping[_Key, _Item]]
    ended: Callable[[Tx], bool]
    current_page: Callable[[Tx, str], tuple[Sequence[_Item], str]] | None = None


@dataclass(frozen=True, slots=True)
class Change(Generic[_Item]):
    """A thing as it is now, and the token with which to go on after it."""

    item: _Item
    resume_token: str


@dataclass(frozen=True, slots=True)
class _Batch(Generic[_Item]):
    """Things read in one transaction, with the event each one is up to; `position` is what the whole is up to."""

    items: tuple[tuple[_Item, int], ...]
    position: int
    ended: bool


class Watcher:
    """Runs watches over one store."""

    def __init__(self, store: Store, feed: EventFeed) -> None:
        self._store = store
        self._feed = feed

    async def watch(self, watched: Watched[_Key, _Item], resume_token: str) -> AsyncIterator[Change[_Item]]:
        """Yield the current state (unless resumed), then changes, until nothing can follow.

        Raises:
            InvalidArgument: RESUME_TOKEN_INVALID; not a token of this watch.
            OutOfRange: RESUME_TOKEN_TOO_OLD; what followed the token is no longer kept.
            Unavailable: the store is away, or the server shuts down.
        """
        if resume_token:
            position = position_of(resume_token, watched.scope)
            batch = await self._store.read(lambda tx: _changes(tx, watched, position))
        elif watched.current_page is None:
            batch = await self._store.read(lambda tx: _current(tx, watched))
        else:
            position, page_token = 0, ""
            while True:
                part, page_token = await self._store.read(
                    partial(_current_part, watched=watched, page_token=page_token, position=position)
                )
                batch, position = part, part.position
                if not page_token:
                    break
                for item, _ in part.items:
                    yield Change(item, "")
        while True:
            for item, sequence in batch.items:
                yield Change(item, resume_token_of(sequence, watched.scope) if sequence else "")
            if batch.ended:
                return
            batch = await self._next(watched, batch.position)

    async def _next(self, watched: Watched[_Key, _Item], position: int) -> _Batch[_Item]:
        """Wait until something that the stream is about changed, without touching the store for the rest."""
        while True:
            newest, found = await self._feed.beyond(position)
            if found is None or any(watched.concerns(event) is not None for event in found):
                return await self._store.read(partial(_changes, watched=watched, position=position, known=found))
            position = newest


def _current(tx: Tx, watched: Watched[_Key, _Item]) -> _Batch[_Item]:
    position = events.newest(tx)
    items = watched.current(tx)
    last = len(items) - 1
    # With no event yet there is nothing to resume after: the token stays empty, and a reader starts over.
    return _Batch(
        tuple((item, position if index == last else 0) for index, item in enumerate(items)),
        position,
        watched.ended(tx),
    )


def _current_part(tx: Tx, watched: Watched[_Key, _Item], page_token: str, position: int) -> tuple[_Batch[_Item], str]:
    """Return a part of the current state, and the token of the next part.

    The position is that of the first part: what has changed since is sent again after the last one, as a change.
    """
    assert watched.current_page is not None
    if not page_token:
        position = events.newest(tx)
    items, next_token = watched.current_page(tx, page_token)
    last = len(items) - 1 if not next_token else -1
    batch = _Batch(
        tuple((item, position if index == last else 0) for index, item in enumerate(items)), position, ended=False
    )
    return batch, next_token


def _changes(
    tx: Tx, watched: Watched[_Key, _Item], position: int, known: Sequence[Event] | None = None
) -> _Batch[_Item]:
    """Read what has changed; `known` are the events after `position` that memory has. None: all of them are read."""
    newest = events.newest(tx)
    if known is None and (position > newest or position + 1 < events.oldest(tx)):
        raise OutOfRange(
            "the resume token is too old, or from another database; start again without a resume token",
            reason="RESUME_TOKEN_TOO_OLD",
        )
    page = tuple(known or ())[:_PAGE]
    reach = page[-1].sequence if page else position
    if newest > reach and len(page) < _PAGE:
        page += events.after(tx, reach, limit=_PAGE - len(page))
    changed_at: dict[_Key, int] = {}
    for event in page:
        key = watched.concerns(event)
        if key is not None:
            changed_at.pop(key, None)  # so that the order is that of the newest events
            changed_at[key] = event.sequence
    loaded = read_each(tx, changed_at, partial(watched.load, tx), "what a stream tells of") if changed_at else {}
    # A full page may have more behind it, which must be read before the end is believed.
    return _Batch(
        tuple((loaded[key], sequence) for key, sequence in changed_at.items() if key in loaded),
        page[-1].sequence if page else position,
        len(page) < _PAGE and watched.ended(tx),
    )


def resume_token_of(sequence: int, scope: tuple[str, ...]) -> str:
    """Return the token that resumes a watch of this scope after an event."""
    packed = _TOKEN.pack(_TOKEN_VERSION, sequence, _seal(sequence, scope))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def position_of(token: str, scope: tuple[str, ...]) -> int:
    """Return the event after which a token resumes. Raises InvalidArgument."""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, sequence, seal = _TOKEN.unpack(packed)
    except (ValueError, binascii.Error, struct.error):
        version, sequence, seal = 0, 0, b""
    if version != _TOKEN_VERSION or seal != _seal(sequence, scope):
        raise InvalidArgument(
            "resume_token is not one of this stream; pass the last one received from the same call with the same "
            "filters, or none to start with the current state",
            reason="RESUME_TOKEN_INVALID",
            metadata={"field": "resume_token"},
        )
    return int(sequence)


def _seal(sequence: int, scope: tuple[str, ...]) -> bytes:
    """Finds tokens that were damaged or belong elsewhere; nothing is protected by it."""
    return hashlib.sha256("\n".join((str(sequence), *scope)).encode()).digest()[:_SCOPE_BYTES]
