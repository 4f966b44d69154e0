"""Tells a collector of what has ended: goals, jobs, and the calls that were made.

Everything is told from the books once it is over, so nothing is lost with a process: after a start, what ended in the
last minutes is told again, and a collector knows it by its ids.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

import structlog

from control_plane.errors import Unavailable
from control_plane.model.ids import GoalId, JobId
from control_plane.model.record import Event, Noun
from control_plane.store import actions, events, goals, jobs, run_steps, runs
from control_plane.store.database import Store, Tx
from control_plane.store.readable import readable
from control_plane.tracing import contexts, spans
from control_plane.tracing.outbox import Outbox
from control_plane.tracing.span import Span

log = structlog.get_logger()

_AGAIN: Final = timedelta(minutes=10)
_PAGE: Final = 256
_TELL_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 5.0
_ACTIONS_MAX: Final = 500


class Exporter(Protocol):
    """A collector; see tracing/otlp.py."""

    def send(self, spans: list[Span]) -> bool:
        """Send spans, blocking; return whether the collector has them."""
        ...


class TraceFollower:
    """Follows goals and jobs, and puts the spans of those that have ended into the outbox."""

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def run(self) -> None:
        """Follow until cancelled."""
        since = self._store.clock.now() - _AGAIN
        position = await self._store.read(partial(events.newest_before, at=since))
        while True:
            try:
                position = await self._follow(position)
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, position: int) -> int:
        """Tell of what the next events say has ended; return up to where."""
        position = await self._store.feed.reason(_is_told, position)
        page = await self._store.feed.since(position, nouns=tuple(_READERS), limit=_PAGE)
        if page.events:
            for span in await self._store.read(partial(ended, found=page.events)):
                self._outbox.put(span)
        return page.position


class TraceSender:
    """Empties the outbox into the collector."""

    def __init__(self, exporter: Exporter, outbox: Outbox) -> None:
        self._exporter = exporter
        self._outbox = outbox

    async def run(self) -> None:
        """Send until cancelled. While the collector is away, spans wait; the oldest are lost beyond a bound."""
        lost = 0
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            while batch := self._outbox.take():
                if not await asyncio.to_thread(self._exporter.send, batch):
                    self._outbox.give_back(batch)
                    await asyncio.sleep(_RETRY_SECONDS)
                    break
            if self._outbox.lost > lost:
                log.warning("tracing.spans_lost", spans=self._outbox.lost - lost, todo="see that the collector answers")
                lost = self._outbox.lost


def _is_told(event: Event) -> bool:
    return event.noun in _READERS


def ended(tx: Tx, found: Iterable[Event]) -> list[Span]:
    """Return the spans of the goals and jobs that events are about and that have ended."""
    things = dict.fromkeys((one.noun, one.id) for one in found if _is_told(one))
    told = readable(tx, things, lambda one: tuple(_READERS[one[0]](tx, one[1])), "a trace of a goal or a job")
    return [span for spans_of_one in told for span in spans_of_one]


def _goal(tx: Tx, item_id: str) -> Iterable[Span]:
    goal = goals.get(tx, GoalId(item_id))
    if goal is None or not goal.state.ended:
        return ()
    context, parent = contexts.of_goal(tx, goal.id)
    run = runs.of_goal(tx, goal.id)
    steps = () if run is None else run_steps.of_run(tx, run.id)
    return spans.of_goal(goal, context, parent, steps, actions.about(tx, goal_id=goal.id, limit=_ACTIONS_MAX))


def _job(tx: Tx, item_id: str) -> Iterable[Span]:
    job = jobs.get(tx, JobId(item_id))
    if job is None or not job.state.ended:
        return ()
    context, parent = contexts.of_job(tx, job.id, job.goal_id)
    return spans.of_job(job, context, parent, actions.about(tx, job_id=job.id, limit=_ACTIONS_MAX))


_READERS: Final[dict[Noun, Callable[[Tx, str], Iterable[Span]]]] = {Noun.GOAL: _goal, Noun.JOB: _job}
