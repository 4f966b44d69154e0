"""What agents think and do, as one stream: what was recorded, then what follows, and what models write meanwhile."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from control_plane.bus.deltas import DeltaReader, Deltas
from control_plane.model.ids import GoalId, RunId, UserId
from control_plane.model.record import Event, Noun
from control_plane.model.run import ReasoningEvent
from control_plane.services.watch import position_of, resume_token_of
from control_plane.store import run_events, runs
from control_plane.store.database import Store, Tx
from control_plane.store.feed import EventFeed
from control_plane.store.run_events import PlacedEvent

_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events; empty means all. `user_id` limits to the runs of that user."""

    run_id: RunId | None
    goal_id: GoalId | None
    agent_name: str
    user_id: UserId | None
    deltas: bool

    @property
    def scope(self) -> tuple[str, ...]:
        """What tells this stream's resume tokens from another's."""
        return ("reasoning", self.run_id or "", self.goal_id or "", self.agent_name, self.user_id or "")

    def concerns(self, event: Event) -> bool:
        """Whether an event of the store may mean something to tell."""
        if event.noun is not Noun.RUN or (self.run_id and event.id != self.run_id):
            return False
        return not self.goal_id or event.parent_id == self.goal_id


class ReasoningStream:
    """Serves streams of one store."""

    def __init__(self, store: Store, feed: EventFeed, deltas: Deltas) -> None:
        self._store = store
        self._feed = feed
        self._deltas = deltas

    async def watch(self, wanted: Wanted, resume_token: str) -> AsyncGenerator[tuple[ReasoningEvent, str], None]:
        """Yield events with the token to go on after each; a delta comes with an empty one.

        A run's stream ends when the run has. Raises InvalidArgument (RESUME_TOKEN_INVALID), Unavailable.
        """
        position = await self._begin(wanted, resume_token)
        recorded = self._recorded(wanted, position)
        if not wanted.deltas:
            async with aclosing(recorded) as events:
                async for event in events:
                    yield event
            return
        with self._deltas.reader(wanted.run_id) as reader:
            async with (
                aclosing(recorded) as events,
                aclosing(self._written(wanted, reader)) as written,
                aclosing(_merged(events, written)) as merged,  # before the others: it is what waits for them
            ):
                async for event in merged:
                    yield event

    async def _begin(self, wanted: Wanted, resume_token: str) -> int:
        if resume_token:
            return position_of(resume_token, wanted.scope)
        if wanted.run_id or wanted.goal_id:
            return 0
        return await self._store.read(run_events.newest_position)

    async def _recorded(self, wanted: Wanted, position: int) -> AsyncGenerator[tuple[ReasoningEvent, str], None]:
        while True:
            seen = self._store.changes.newest
            page, ended = await self._store.read(partial(_page, wanted=wanted, position=position))
            for placed in page:
                position = placed.position
                yield placed.event, resume_token_of(position, wanted.scope)
            if len(page) == _PAGE:
                continue
            if ended:
                return
            await self._changed(wanted, seen)

    async def _changed(self, wanted: Wanted, seen: int) -> None:
        """Wait for a commit that may concern the stream, without touching the store for the others."""
        while True:
            newest, found = await self._feed.beyond(seen)
            if found is None or any(wanted.concerns(event) for event in found):
                return
            seen = newest

    async def _written(self, wanted: Wanted, reader: DeltaReader) -> AsyncGenerator[tuple[ReasoningEvent, str], None]:
        allowed: dict[RunId, bool] = {}
        async for event in reader:
            if wanted.goal_id not in (None, event.goal_id) or wanted.agent_name not in ("", event.agent_name):
                continue
            if event.run_id not in allowed:
                allowed[event.run_id] = await self._store.read(partial(_owns, wanted=wanted, run_id=event.run_id))
            if allowed[event.run_id]:
                yield event, ""


def _page(tx: Tx, wanted: Wanted, position: int) -> tuple[tuple[PlacedEvent, ...], bool]:
    """Return the next events, and whether none can follow them."""
    run = runs.get(tx, wanted.run_id) if wanted.run_id else None
    page = run_events.after(
        tx,
        position,
        limit=_PAGE,
        run_id=wanted.run_id,
        goal_id=wanted.goal_id,
        agent_name=wanted.agent_name,
        user_id=wanted.user_id,
    )
    return page, run is not None and run.state.ended


def _owns(tx: Tx, wanted: Wanted, run_id: RunId) -> bool:
    run = runs.get(tx, run_id)
    return run is not None and (wanted.user_id is None or run.user_id == wanted.user_id)


async def _merged(
    first: AsyncGenerator[tuple[ReasoningEvent, str], None], second: AsyncGenerator[tuple[ReasoningEvent, str], None]
) -> AsyncGenerator[tuple[ReasoningEvent, str], None]:
    """Yield from both as they come, until the first one ends."""
    waiting = {source: asyncio.ensure_future(anext(source)) for source in (first, second)}
    try:
        while True:
            done, _ = await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
            for source in (second, first):  # what was being written comes before what was recorded of it
                if waiting[source] not in done:
                    continue
                try:
                    yield waiting[source].result()
                except StopAsyncIteration:
                    return
                waiting[source] = asyncio.ensure_future(anext(source))
    finally:
        for task in waiting.values():
            task.cancel()
        await asyncio.gather(*waiting.values(), return_exceptions=True)
