"""Turns what has ended into memories, each once: incidents and their repairs, goals, failed jobs. By code alone."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from typing_extensions import override

from control_plane.agents.loop import Agent
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.fleet import memories
from control_plane.fleet.memories import QUIET, Terms
from control_plane.memory.contract import MemoryStore
from control_plane.model.identity import CredentialKind, Principal, Role
from control_plane.model.ids import GoalId, IncidentId, JobId
from control_plane.model.memory import Memory
from control_plane.store import goals, incidents, jobs, memory_feed, nodes
from control_plane.store.database import Store, Tx
from control_plane.store.memory_feed import Feed
from control_plane.telemetry.logs import LogStore
from control_plane.tools.job_diagnoses import diagnose_job

log = structlog.get_logger()

NAME: Final = "memory_keeper"
_LOOK_SECONDS: Final = 5.0
_BATCH: Final = 50
_SETTLED: Final = timedelta(seconds=30)
"""What has ended is looked at after this time: by then the last of a job's output is there."""
_TIDY_SECONDS: Final = 600.0
_EMBEDDED_AT_ONCE: Final = 32


class MemoryKeeper(Agent):
    """Follows what ends. A cursor in the store and the source of each memory make that exactly once.

    While memory is away nothing is lost: the cursor stays.
    """

    name = NAME
    event_driven = False

    def __init__(self, store: Store, memory: MemoryStore, logs: LogStore, *, lifetime: timedelta) -> None:
        super().__init__(store, interval_seconds=_LOOK_SECONDS)
        self._memory = memory
        self._logs = logs
        self._lifetime = lifetime
        self._tidied_at: float | None = None
        self._away = ""

    @override
    async def round(self) -> str:
        """Remember what has ended since, forget what has expired, embed what waits for it."""
        try:
            written = await self._follow(memory_feed.INCIDENTS, QUIET, self._of_incident)
            written += await self._follow(memory_feed.GOALS, _SETTLED, self._of_goal)
            written += await self._follow(memory_feed.FAILED_JOBS, _SETTLED, self._of_job)
            await self._tidy()
        except Unavailable as error:
            if error.message != self._away:
                log.warning("memory.away", why=error.message)
            self._away = error.message
            return ""
        self._away = ""
        return f"remembered {written}" if written else ""

    async def _follow(
        self, feed: Feed, settled: timedelta, compose: Callable[[str, Terms], Awaitable[Memory | None]]
    ) -> int:
        written = 0
        while True:
            batch = await self._store.read(partial(memory_feed.ended, feed=feed, settled=settled, limit=_BATCH))
            for record_id in batch.record_ids:
                memory = await self._composed(compose, record_id, Terms(self._store.clock.now(), self._lifetime))
                if memory is not None:
                    await self._memory.remember(memory)
                    written += 1
                    self.count("memories_written")
            if batch.to is not None:
                await self._store.write(partial(memory_feed.move, name=feed.name, to=batch.to))
            if not batch.more:
                return written

    async def _composed(
        self, compose: Callable[[str, Terms], Awaitable[Memory | None]], record_id: str, terms: Terms
    ) -> Memory | None:
        try:
            return await compose(record_id, terms)
        except Unavailable:
            raise
        except OrQuantaError as error:
            # What cannot be told is not remembered; it must not keep all that follows from it.
            log.warning("memory.not_written", record=record_id, why=error.message)
        except Exception:
            log.exception("memory.not_written", record=record_id)  # nor must what cannot even be read
        return None

    async def _of_incident(self, record_id: str, terms: Terms) -> Memory | None:
        def read(tx: Tx) -> Memory | None:
            incident = incidents.get(tx, IncidentId(record_id))
            node = None if incident is None else nodes.get(tx, incident.node_id)
            if incident is None or node is None or incident.closed_at is None:
                return None
            return memories.of_incident(incident, node, memory_feed.begun_after(tx, incident, QUIET), terms)

        return await self._store.read(read)

    async def _of_goal(self, record_id: str, terms: Terms) -> Memory | None:
        def read(tx: Tx) -> Memory | None:
            goal = goals.get(tx, GoalId(record_id))
            return None if goal is None else memories.of_goal(goal, goals.bill(tx, goal.id), terms)

        return await self._store.read(read)

    async def _of_job(self, record_id: str, terms: Terms) -> Memory | None:
        job = await self._store.read(lambda tx: jobs.get(tx, JobId(record_id)))
        if job is None or job.finished_at is None:
            return None
        owner = Principal(job.user_id, job.user_email, Role.USER, CredentialKind.LOCAL, NAME, for_agent=True)
        job, diagnosis = await diagnose_job(self._store, self._logs, owner, job.id)
        return memories.of_job(job, diagnosis, job.finished_at or terms.now, terms)

    async def _tidy(self) -> None:
        await self._memory.reembed(at_most=_EMBEDDED_AT_ONCE)
        now = self._store.clock.monotonic()
        if self._tidied_at is None or now - self._tidied_at >= _TIDY_SECONDS:
            self._tidied_at = now
            self.count("memories_expired", await self._memory.expire(self._store.clock.now()))
