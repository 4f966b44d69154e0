"""Announces committed changes on the event bus, in order. A message only wakes; the truth is in the store."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from control_plane.agents.publishing import publish_all
from control_plane.bus.client import Bus, Outgoing
from control_plane.bus.subjects import EventNoun, event
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.model.ids import GoalId, JobId
from control_plane.model.record import Event, Noun
from control_plane.store import events
from control_plane.store.database import Store, Tx
from control_plane.tracing import contexts
from control_plane.urgency import Urgency
from orquanta.tracing import HEADER
from orquanta.v1 import event_pb2

log = structlog.get_logger()

AGAIN_LEAST: Final = 256
"""Events that are announced once more at least, however old they look."""

_BATCH: Final = 256
_BATCH_WHILE_URGENT: Final = 2_048
"""So many at once, and then a wait, as long as something is urgent: also of what was left over by the round before."""

_RETRY_SECONDS = 0.5
_TRACED = (Noun.GOAL, Noun.JOB)
_NOUNS = {
    Noun.GOAL: EventNoun.GOAL,
    Noun.JOB: EventNoun.JOB,
    Noun.NODE: EventNoun.NODE,
    Noun.INCIDENT: EventNoun.INCIDENT,
    Noun.ACTION: EventNoun.ACTION,
    Noun.AGENT: EventNoun.AGENT,
    Noun.RUN: EventNoun.RUN,
}


class Announcer:
    """Follows the store's events and publishes each with its sequence number as message id."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        *,
        again_seconds: float = 0.0,
        traced: bool = False,
        urgency: Urgency | None = None,
    ) -> None:
        """With `traced`, what is about a goal or a job carries its trace context as a header."""
        self._urgency = urgency or Urgency()
        self._traced = traced
        self._store = store
        self._bus = bus
        self._again_seconds = again_seconds

    async def run(self) -> None:
        """Announce everything committed from now on, until cancelled.

        While the broker is away, events wait in the store. What was committed before a restart is not announced
        again: those who listen load the current state when they start. With `again_seconds`, what is not older than
        that is announced once more, for whoever led before may not have come to it; the broker knows it by its number.
        """
        position = self._store.changes.newest
        if self._again_seconds:
            since = self._store.clock.now() - timedelta(seconds=self._again_seconds)
            older = await self._store.read(partial(events.newest_before, at=since))
            # Whoever led before may have had a clock that is behind this one: what it wrote last then looks old.
            position = min(older, max(0, position - AGAIN_LEAST))
        while True:
            position = await self._announce_after(position)

    async def _announce_after(self, position: int) -> int:
        try:
            if self._store.feed.newest <= position:
                await self._store.feed.beyond(position)
            await self._urgency.calm()  # once for all that has come meanwhile
            limit = _BATCH_WHILE_URGENT if self._urgency.is_urgent else _BATCH
            page = await self._store.feed.since(position, limit=limit)
            batch = await self._with_headers(page.events)
        except Unavailable as error:
            log.warning("announcer.waiting", sequence=position, reason=error.reason)
            await asyncio.sleep(_RETRY_SECONDS)
            return position
        messages = [made for one, headers in batch if (made := _outgoing(one, headers)) is not None]
        await publish_all(self._bus, messages, who="announcer")
        return page.position

    async def _with_headers(self, found: Sequence[Event]) -> Sequence[tuple[Event, Mapping[str, str]]]:
        """Return events, each with the headers of its message."""
        if not self._traced or not any(one.noun in _TRACED for one in found):
            return [(one, {}) for one in found]
        return await self._store.read(lambda tx: [(one, _headers(tx, one)) for one in found])


def _headers(tx: Tx, one: Event) -> Mapping[str, str]:
    if one.noun is Noun.GOAL:
        context, _ = contexts.of_goal(tx, GoalId(one.id))
    elif one.noun is Noun.JOB:
        context, _ = contexts.of_job(tx, JobId(one.id), GoalId(one.parent_id) if one.parent_id else None)
    else:
        return {}
    return {HEADER: context.traceparent()}


def _outgoing(one: Event, headers: Mapping[str, str]) -> Outgoing | None:
    """Return an event's message; None if it cannot be one."""
    try:
        subject = event(_NOUNS[one.noun], one.id)
    except (KeyError, OrQuantaError) as error:  # a noun of a newer control plane beside this one, or an id of none
        log.warning("announcer.skipped", sequence=one.sequence, why=f"{type(error).__name__}: {error}")
        return None
    told = event_pb2.PlatformEvent(
        sequence=one.sequence, noun=one.noun.value, id=one.id, kind=one.kind, message=one.message
    )
    told.created_at.FromDatetime(one.created_at)
    return Outgoing(subject, told.SerializeToString(), f"event-{one.sequence}", headers)
