"""The queue as people ask about it: a world of its own, brought up to date when somebody asks, and only then.

So every control plane can answer, also one whose agents do not work, and no question disturbs the scheduler.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeVar

from control_plane.errors import ResourceExhausted
from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.queueing.model import QueueTerms, Standing, WaitReason
from control_plane.model.ids import JobId
from control_plane.scheduling.reading import Changes, Everything, Terms, changes, everything
from control_plane.scheduling.values import REFUSED
from control_plane.scheduling.world import World
from control_plane.store import actions, agents
from control_plane.store.database import Store, Tx

T = TypeVar("T")

WAITING_MAX: Final = 64
"""Questions that wait for an answer at once; more are refused."""

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

    async def ask(self, question: Callable[[World, Line], T]) -> T:
        """Return what a question finds in the world as it is now. It runs in a thread, alone, and must not change it.

        Raises ResourceExhausted when too many wait already.
        """
        if self._asked >= WAITING_MAX:
            raise ResourceExhausted("too many questions about the queue at once; ask again in a moment")
        self._asked += 1
        try:
            async with self._lock:
                try:
                    world, stopped = await self._current()
                    line = await asyncio.to_thread(self._told, world, stopped)
                    return await asyncio.to_thread(question, world, line)
                except asyncio.CancelledError:
                    # The thread goes on, and tries things out in this world: nobody else may change it meanwhile.
                    self._world = None
                    raise
        finally:
            self._asked -= 1

    async def _current(self) -> tuple[World, str]:
        world, self._world = self._world, None  # should what follows fail, everything is read the next time
        patch, whole, stopped = await self._store.read(lambda tx: self._read(tx, world))
        if world is not None and patch is not None:
            await asyncio.to_thread(world.apply, patch)
        else:
            assert whole is not None
            world = await asyncio.to_thread(self._built, whole)
        self._world = world
        return world, stopped

    def _read(self, tx: Tx, world: World | None) -> tuple[Changes | None, Everything | None, str]:
        patch = None if world is None else changes(tx, world.sequence, self._reading, world.dependents)
        return patch, everything(tx, self._reading) if patch is None else None, _stopped(tx)

    def _built(self, whole: Everything) -> World:
        return World(whole, terms=self.settings.terms, packing=self.settings.packing)

    def _told(self, world: World, stopped: str) -> Line:
        clock = self._store.clock
        known, began = self._line, clock.monotonic()
        if known is not None and known.stopped == stopped and known.holds(world.sequence, began):
            return known.line
        now = clock.now()
        refused = {job_id: text for job_id, text in world.reasons.items() if text.startswith(REFUSED)}
        standings = world.standings(now, refused)
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
