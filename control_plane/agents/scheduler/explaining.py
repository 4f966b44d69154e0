"""Tells the jobs at the head of the queue what they wait for: in the store, and only where it changed."""

import asyncio
from collections.abc import Container, Mapping
from datetime import datetime
from itertools import islice
from typing import Final

from control_plane.fleet.queueing.model import Standing
from control_plane.model.ids import JobId
from control_plane.model.job import JobState
from control_plane.scheduling.world import World
from control_plane.store import jobs
from control_plane.store.database import Store, Tx

TOLD_MAX: Final = 200
"""Jobs at the head of the queue whose reason is kept in the store; the others are explained when somebody asks."""

_NO_LONGER: Final = "waits for its turn; orquanta job why tells more"
_PAUSE_FACTOR: Final = 20.0
_PAUSE_SECONDS: Final = 1.0  # between two explanations; figures change with every start


class Explainer:
    """Writes what jobs wait for, at most once in a while."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due = False
        self._not_before = 0.0

    async def explain(self, world: World, refused: Mapping[JobId, str], *, changed: bool) -> tuple[Standing, ...]:
        """Write what has changed since it was last told; return the head of the queue if it was looked at."""
        self._due = self._due or changed
        now = self._store.clock.monotonic()
        if not self._due or now < self._not_before:
            return ()
        self._due = False
        self._not_before = now + _PAUSE_SECONDS
        head = await asyncio.to_thread(_head, world, refused, self._store.clock.now())
        # Explaining a large fleet takes time in which nothing is placed, so it is done the less often.
        ended = self._store.clock.monotonic()
        self._not_before = ended + max(_PAUSE_SECONDS, _PAUSE_FACTOR * (ended - now))
        reasons = {one.job_id: refused.get(one.job_id) or as_reason(one.waits_for) for one in head}
        reasons |= dict.fromkeys(stale(world, refused, reasons), _NO_LONGER)
        fresh = {job_id: reason for job_id, reason in reasons.items() if world.reasons.get(job_id) != reason}
        if fresh:
            await self._store.write(lambda tx: _write(tx, fresh))
        return head


def stale(world: World, refused: Mapping[JobId, str], told: Container[JobId]) -> list[JobId]:
    """Return jobs that are still said to be refused and no longer are, at most so many at once as are told anyway."""
    found = (job_id for job_id in world.refused if job_id not in refused and job_id not in told)
    return list(islice(found, TOLD_MAX))


def _head(world: World, refused: Mapping[JobId, str], now: datetime) -> tuple[Standing, ...]:
    return world.standings(now, refused, limit=TOLD_MAX)


def as_reason(waits_for: str) -> str:
    """Return what a job waits for as the reason for its state."""
    return waits_for if waits_for.startswith("waits") else f"waits: {waits_for}"


def _write(tx: Tx, reasons: dict[JobId, str]) -> None:
    for job_id, reason in reasons.items():
        job = jobs.get(tx, job_id, with_allocations=False)
        if job is not None and job.state is JobState.QUEUED and job.status_reason != reason:
            jobs.update(tx, job_id, status_reason=reason)
