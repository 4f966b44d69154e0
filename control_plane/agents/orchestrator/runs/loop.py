"""The loop that drives runs: it picks those that have a move to take, and takes a bounded number at once."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable
from functools import partial

import structlog

from control_plane.agents.orchestrator.names import NAME
from control_plane.agents.orchestrator.runs.begin import run_id_of
from control_plane.agents.orchestrator.runs.driver import Driver
from control_plane.agents.pausing import Pause
from control_plane.errors import Unavailable
from control_plane.model.ids import GoalId, RunId
from control_plane.model.record import Event, Noun
from control_plane.store import agents, runs
from control_plane.store.database import Store

log = structlog.get_logger()

_AT_ONCE = 4
_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_FAILURES_MAX = 5
"""Times in a row that a run may fail by itself before it is ended: it would hold one of the places for ever."""
_PAGE = 500
_READY_MAX = 10_000
_NOUNS = (Noun.JOB, Noun.GOAL, Noun.ACTION, Noun.NODE, Noun.INCIDENT)
_JOB_ENDS = ("job.failed", "job.succeeded", "job.cancelled")


class RunLoop:
    """Drives every run that has a move to take, at most four at once. What it knows of them it can learn again."""

    def __init__(self, store: Store, driver: Driver, *, at_once: int = _AT_ONCE) -> None:
        self._store = store
        self._driver = driver
        self._pause = Pause(store, NAME)
        self._at_once = at_once
        self._ready: dict[RunId, None] = {}
        self._active: set[RunId] = set()
        self._failures: Counter[RunId] = Counter()
        self._learned = False
        self._position = 0
        self._free = asyncio.Event()
        self._waits: dict[RunId, tuple[str, ...]] = {}
        self._waiting: dict[str, set[RunId]] = {}

    async def run(self) -> None:
        """Drive runs until cancelled. After a restart, every run that has not ended is looked at once.

        While the database is away, runs wait.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._round(group)
                except Unavailable as error:
                    log.warning("runs.waiting", reason=error.reason)
                    await asyncio.sleep(_RETRY_SECONDS)

    async def _round(self, group: asyncio.TaskGroup) -> None:
        if not self._learned:
            await self._store.write(lambda tx: agents.register(tx, NAME))
            await self._store.feed.catch_up()
            self._position = self._store.feed.newest
            self._add(await self._store.read(runs.unended))
            self._learned = True
        if not await self._pause.holds():
            self._start(group)
        await self._wait()
        await self._notice()

    def _start(self, group: asyncio.TaskGroup) -> None:
        for run_id in [one for one in self._ready if one not in self._active]:
            if len(self._active) >= self._at_once:
                return
            del self._ready[run_id]
            self._active.add(run_id)
            group.create_task(self._drive(run_id))

    async def _drive(self, run_id: RunId) -> None:
        """Advance a run until it waits or has ended. One run's trouble is not that of the others."""
        try:
            while True:
                if await self._pause.holds():
                    self._add([run_id])
                    return
                more = await self._driver.advance(run_id)
                self._failures.pop(run_id, None)
                if more:
                    continue
                # What changed before the loop knew what to look for has woken nobody: look once more.
                if not await self._remember(run_id):
                    return
        except Unavailable as error:
            log.warning("run.waiting", run_id=run_id, reason=error.reason)
            await asyncio.sleep(_RETRY_SECONDS)
            self._add([run_id])
        except Exception as error:
            log.exception("run.failed", run_id=run_id)
            await asyncio.sleep(_RETRY_SECONDS)
            await self._failed(run_id, error)
        finally:
            self._active.discard(run_id)
            self._free.set()

    async def _failed(self, run_id: RunId, error: Exception) -> None:
        """Try again, unless the run has failed too often: then end it."""
        self._add([run_id])
        self._failures[run_id] += 1
        if self._failures[run_id] < _FAILURES_MAX:
            return
        try:
            await self._driver.give_up(run_id, f"it failed by itself ({type(error).__name__}); see the server's log")
        except Exception:
            log.exception("run.not_ended", run_id=run_id)

    async def _remember(self, run_id: RunId) -> bool:
        """Learn what the run waits for, so that its change wakes it. Return whether that is other than before."""
        book = await self._store.read(lambda tx: runs.book(tx, run_id))
        waits = () if book is None or book.run.state.ended else (*book.waits_for, *book.watches)
        if self._waits.get(run_id, ()) == waits:
            return False
        for one in self._waits.pop(run_id, ()):
            self._waiting[one].discard(run_id)
            if not self._waiting[one]:
                del self._waiting[one]
        if waits:
            self._waits[run_id] = waits
        for one in waits:
            self._waiting.setdefault(one, set()).add(run_id)
        return bool(waits)

    async def _wait(self) -> None:
        """Wait for a change in the store, for a free place, or for the next look at alarms."""
        self._free.clear()
        if self._ready.keys() - self._active and len(self._active) < self._at_once and not await self._pause.holds():
            return
        changed = asyncio.ensure_future(self._store.feed.reason(self._is_reason, self._position))
        freed = asyncio.ensure_future(self._free.wait())
        try:
            done, _ = await asyncio.wait((changed, freed), timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in (changed, freed):
                waiter.cancel()
        for one in done:
            if not one.cancelled():
                one.result()  # a closed store ends the loop

    async def _notice(self) -> None:
        """Take note of the runs that the newest events are about, and of those whose alarm has come."""
        self._add(await self._store.read(partial(runs.due, limit=_PAGE)))
        while True:
            page = await self._store.feed.since(self._position, nouns=_NOUNS)
            self._position = page.position
            for event in page.events:
                self._add(self._concerned(event))
            if not page.more:
                return

    def _is_reason(self, event: Event) -> bool:
        return bool(self._concerned(event))

    def _concerned(self, event: Event) -> Collection[RunId]:
        match event.noun:
            case Noun.JOB if event.parent_id and event.kind in _JOB_ENDS:
                return (run_id_of(GoalId(event.parent_id)),)
            case Noun.GOAL:
                return (run_id_of(GoalId(event.id)),)
            case Noun.ACTION | Noun.NODE:
                return tuple(self._waiting.get(event.id, ()))
            case Noun.INCIDENT:
                return tuple(self._waiting.get(event.parent_id, ()))
            case _:
                return ()

    def _add(self, run_ids: Iterable[RunId]) -> None:
        for run_id in run_ids:
            if len(self._ready) < _READY_MAX:  # the rest is found again by its rows
                self._ready[run_id] = None
