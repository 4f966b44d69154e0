"""The queue as people ask about it: a world of its own, brought up to date when somebody asks, and only then.

So every control plane can answer, also one whose agents do not work, and no question disturbs the scheduler.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeVar

import structlog

from control_plane.errors import ResourceExhausted
from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.queueing.model import QueueTerms, Standing, WaitReason
from control_plane.model.ids import JobId
from control_plane.scheduling.checking import Stored, Which, looks_as, some_of, stored
from control_plane.scheduling.reading import Changes, Everything, Terms, changes, everything, newer
from control_plane.scheduling.world import World, differences
from control_plane.store import actions, agents
from control_plane.store.database import Store, Tx
from control_plane.store.feed import Page

log = structlog.get_logger()

T = TypeVar("T")

WAITING_MAX: Final = 64
"""Questions that wait for an answer at once; more are refused."""

CHECK_SECONDS: Final = 60.0
"""How often what is kept is compared with the store, in part."""

_SHOWN: Final = 20  # differences in a log line
_SCHEDULER: Final = "scheduler_agent"
_REUSED_FACTOR: Final = 5.0  # where the whole queue takes long to explain, it is told again for a while
_STALE_SECONDS: Final = 2.0  # an order is told again for so long while nothing changes


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How the queue is served, hosts are chosen, and what accounts may hold unless they say otherwise."""

    max_gpus_per_user: int = 64
    terms: QueueTerms = field(default_factory=QueueTerms)
    packing: PackingPolicy = PackingPolicy.NODE_VALUE


@dataclass(frozen=True, slots=True)
class Line:
    """The whole queue in the order in which it is served, and when that was decided."""

    standings: tuple[Standing, ...]
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class _Told:
    """A line, and how long it is told again: whatever changes, and as long as nothing does."""

    line: Line
    sequence: int
    stopped: str
    good_until: float
    same_until: float

    def holds(self, sequence: int, now: float) -> bool:
        """Tell whether it can be told again."""
        return now < self.good_until or (sequence == self.sequence and now < self.same_until)


class QueueView:
    """Answers questions about the queue, one after another."""

    def __init__(self, store: Store, settings: QueueSettings) -> None:
        self.settings = settings
        self._store = store
        self._reading = Terms(settings.max_gpus_per_user, settings.terms.min_runtime_seconds)
        self._lock = asyncio.Lock()
        self._asked = 0
        self._world: World | None = None
        self._line: _Told | None = None
        self._checks = 0
        self._check_at = 0.0

    async def look(self, question: Callable[[World], T]) -> T:
        """Return what a question finds in the world as it is now, as `ask` does, without the order of the queue."""

        async def found(world: World, _stopped: str) -> T:
            return await asyncio.to_thread(question, world)

        return await self._alone(found)

    async def ask(self, question: Callable[[World, Line], T]) -> T:
        """Return what a question finds in the world as it is now. It runs in a thread, alone, and must not change it.

        Raises ResourceExhausted when too many wait already.
        """

        async def found(world: World, stopped: str) -> T:
            line = await asyncio.to_thread(self._told, world, stopped)
            return await asyncio.to_thread(question, world, line)

        return await self._alone(found)

    async def _alone(self, found: Callable[[World, str], Awaitable[T]]) -> T:
        if self._asked >= WAITING_MAX:
            raise ResourceExhausted("too many questions about the queue at once; ask again in a moment")
        self._asked += 1
        try:
            async with self._lock:
                try:
                    return await found(*await self._current())
                except asyncio.CancelledError:
                    # The thread goes on, and tries things out in this world: nobody else may change it meanwhile.
                    self._world = None
                    raise
        finally:
            self._asked -= 1

    async def _current(self) -> tuple[World, str]:
        world, self._world = self._world, None  # should what follows fail, everything is read the next time
        now = self._store.clock.monotonic()
        checks = world is not None and now >= self._check_at
        which = some_of(world, self._checks) if world is not None and checks else None
        known = None
        if world is not None:
            known = await newer(self._store.feed, world.sequence)
        patch, whole, look, stopped = await self._store.read(lambda tx: self._read(tx, world, known, which))
        if world is not None and patch is not None:
            await asyncio.to_thread(world.apply, patch)
            if look is not None:
                self._checks, self._check_at = self._checks + 1, now + CHECK_SECONDS
                world = await self._checked(world, look)
        else:
            assert whole is not None
            world = await asyncio.to_thread(self._built, whole)
            self._check_at = now + CHECK_SECONDS
        self._world = world
        return world, stopped

    async def _checked(self, world: World, look: Stored) -> World:
        """Return the world if it is as the store has it; else tell, and begin anew."""
        if await asyncio.to_thread(looks_as, world, look):
            return world
        whole = await self._store.read(lambda tx: everything(tx, self._reading))
        if whole.sequence == world.sequence:
            found = await asyncio.to_thread(differences, world, whole)
            if not found:
                return world
            log.error("queue_view.memory_differs", count=len(found), examples=sorted(found)[:_SHOWN])
        self._line = None
        return await asyncio.to_thread(self._built, whole)

    def _read(
        self, tx: Tx, world: World | None, known: Page | None, which: Which | None
    ) -> tuple[Changes | None, Everything | None, Stored | None, str]:
        patch = None if world is None or known is None else changes(tx, known, self._reading, world.dependents)
        whole = everything(tx, self._reading) if patch is None else None
        look = stored(tx, self._reading, which) if which is not None and patch is not None else None
        return patch, whole, look, _stopped(tx)

    def _built(self, whole: Everything) -> World:
        return World(whole, terms=self.settings.terms, packing=self.settings.packing)

    def _told(self, world: World, stopped: str) -> Line:
        clock = self._store.clock
        known, began = self._line, clock.monotonic()
        if known is not None and known.stopped == stopped and known.holds(world.sequence, began):
            return known.line
        now = clock.now()
        standings = world.standings(now, world.refused)
        if stopped:
            standings = tuple(replace(one, reason=WaitReason.STOPPED, waits_for=stopped) for one in standings)
        line = Line(standings, now)
        ended = clock.monotonic()
        good_until = ended + _REUSED_FACTOR * (ended - began)
        self._line = _Told(line, world.sequence, stopped, good_until, ended + _STALE_SECONDS)
        return line


def standing_of(line: Line, job_id: JobId) -> Standing | None:
    """Return where a job stands, None if it does not wait."""
    return next((one for one in line.standings if one.job_id == job_id), None)


def _stopped(tx: Tx) -> str:
    """Return why nothing starts at all, or an empty text."""
    switch = actions.kill_switch(tx)
    if switch.engaged:
        return f"{switch.changed_by} has stopped all effects; an admin can release it with: orquanta action resume-all"
    scheduler = agents.get(tx, _SCHEDULER)
    if scheduler is not None and scheduler.paused:
        return "the scheduler is paused; an operator can resume it with: orquanta agent resume scheduler_agent"
    return ""
