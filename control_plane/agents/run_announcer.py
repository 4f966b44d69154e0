"""Publishes what agents think and do on the bus, in order. The truth is in the store; a lost message costs latency."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from control_plane.agents.publishing import publish_all
from control_plane.bus.client import Bus, Outgoing
from control_plane.bus.run_messages import reasoning_event
from control_plane.bus.subjects import run as run_subject
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.model.record import Event, Noun
from control_plane.model.run import ReasoningEvent
from control_plane.store import run_events
from control_plane.store.database import Store

log = structlog.get_logger()

AGAIN_LEAST: Final = 256
"""Events that are announced once more at least, however old they look."""

_BATCH = 256
_RETRY_SECONDS = 0.5


class RunAnnouncer:
    """Follows the events of all runs and publishes each with its run and number as message id."""

    def __init__(self, store: Store, bus: Bus, *, again_seconds: float = 0.0) -> None:
        self._store = store
        self._bus = bus
        self._again_seconds = again_seconds

    async def run(self) -> None:
        """Publish everything told from now on, until cancelled. While the broker is away, events wait in the store."""
        position = await self._newest()
        seen = 0
        while True:
            seen = await self._told(seen)
            position = await self._announce_after(position)

    async def _told(self, seen: int) -> int:
        """Wait until something was told of a run after the event `seen`; return how far that was looked at."""
        while True:
            try:
                await self._store.feed.reason(_is_of_run, seen)
            except Unavailable as error:
                log.warning("run_announcer.waiting", reason=error.reason)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return self._store.feed.newest

    async def _newest(self) -> int:
        while True:
            try:
                newest = await self._store.read(run_events.newest_position)
                if not self._again_seconds:
                    return newest
                since = self._store.clock.now() - timedelta(seconds=self._again_seconds)
                older = await self._store.read(partial(run_events.position_before, at=since))
                # Whoever led before may have had a clock that is behind this one: what it wrote last then looks old.
                return min(older, max(0, newest - AGAIN_LEAST))
            except Unavailable as error:
                log.warning("run_announcer.waiting", reason=error.reason)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _announce_after(self, position: int) -> int:
        while True:
            try:
                batch = await self._store.read(partial(run_events.after, position=position, limit=_BATCH))
            except Unavailable as error:
                log.warning("run_announcer.waiting", position=position, reason=error.reason)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if not batch:
                return position
            messages = [made for one in batch if (made := _outgoing(one.event)) is not None]
            await publish_all(self._bus, messages, who="run_announcer")
            position = batch[-1].position


def _outgoing(event: ReasoningEvent) -> Outgoing | None:
    """Return an event's message; None if it cannot be one."""
    try:
        subject = run_subject(event.run_id)
    except OrQuantaError as error:
        log.warning("run_announcer.skipped", run_id=event.run_id, sequence=event.sequence, why=error.message)
        return None
    return Outgoing(subject, reasoning_event(event).SerializeToString(), f"{event.run_id}-{event.sequence}")


def _is_of_run(event: Event) -> bool:
    return event.noun is Noun.RUN
