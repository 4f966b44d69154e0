"""What every agent's loop has in common: wait for a reason, decide, propose, tell how it went."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping

import structlog

from control_plane.model.agent import AgentStatus
from control_plane.store import agents
from control_plane.store.database import Store, Tx

log = structlog.get_logger()

_IDLE_SECONDS = 1.0
_RETRY_SECONDS = 0.5


class Agent(ABC):
    """A loop that proposes. It has no power of its own: what it proposes passes the governor.

    One that is not `event_driven` looks at the world at fixed intervals, whatever changes in the store.
    """

    name: str
    event_driven = True

    def __init__(self, store: Store, *, interval_seconds: float = _IDLE_SECONDS) -> None:
        self._store = store
        self._interval_seconds = interval_seconds
        self._counters: dict[str, float] = {"rounds": 0, "errors": 0}
        self._last_error = ""

    @abstractmethod
    async def round(self) -> str:
        """Load, decide, propose once. Return what was done in one line, or an empty text if there was nothing."""

    def count(self, name: str, by: float = 1) -> None:
        """Add to one of the agent's figures."""
        self._counters[name] = self._counters.get(name, 0) + by

    async def run(self) -> None:
        """Go round on every change in the store, or at each interval without one, until cancelled."""
        await self._store.write(lambda tx: agents.register(tx, self.name))
        seen = 0
        while True:
            seen = await self._wait(seen)
            record = await self._guarded_round()
            if record is not None:
                await self._report(record)

    async def _wait(self, seen: int) -> int:
        if not self.event_driven:
            await asyncio.sleep(self._interval_seconds)
            return seen
        try:
            async with asyncio.timeout(self._interval_seconds):
                return await self._store.changes.wait_beyond(seen)
        except TimeoutError:
            return self._store.changes.newest

    async def _guarded_round(self) -> tuple[AgentStatus, str | None, str] | None:
        """Go round unless paused. Return what to record, or None if nothing changed."""
        try:
            record = await self._store.read(lambda tx: agents.get(tx, self.name))
            if record is not None and record.paused:
                return None
            self.count("rounds")
            done = await self.round()
        except Exception as error:
            self.count("errors")
            log.exception("agent.failed", agent=self.name)
            text = f"{type(error).__name__}: {error}"
            repeated = text == self._last_error
            self._last_error = text
            await asyncio.sleep(_RETRY_SECONDS)
            return None if repeated else (AgentStatus.ERROR, None, text)
        recovered = bool(self._last_error)
        self._last_error = ""
        return (AgentStatus.IDLE, done or None, "") if done or recovered else None

    async def _report(self, record: tuple[AgentStatus, str | None, str]) -> None:
        status, last_action, last_error = record
        metrics: Mapping[str, float] = dict(self._counters)

        def write(tx: Tx) -> None:
            agents.record(tx, self.name, status=status, last_action=last_action, last_error=last_error, metrics=metrics)

        try:
            await self._store.write(write)
        except Exception:
            log.exception("agent.report_failed", agent=self.name)
