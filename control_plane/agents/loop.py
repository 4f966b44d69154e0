"""What every agent's loop has in common: wait for a reason, decide, propose, tell how it went."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping

import structlog

from control_plane.agents.pausing import Pause
from control_plane.errors import Unavailable
from control_plane.model.agent import AgentStatus
from control_plane.model.record import Event, Noun
from control_plane.store import agents
from control_plane.store.changes import SHUTTING_DOWN
from control_plane.store.database import Store, Tx
from control_plane.urgency import Urgency

log = structlog.get_logger()

_RESUMED = "agent.resumed"
_IDLE_SECONDS = 1.0
_RETRY_SECONDS = 0.5


class Agent(ABC):
    """A loop that proposes. It has no power of its own: what it proposes passes the governor.

    One that is not `event_driven` looks at the world at fixed intervals, whatever changes in the store. One that is
    `patient` goes round later while another has something urgent to do.
    """

    name: str
    event_driven = True
    patient = False

    def __init__(
        self, store: Store, *, interval_seconds: float = _IDLE_SECONDS, urgency: Urgency | None = None
    ) -> None:
        self._store = store
        self._interval_seconds = interval_seconds
        self._urgency = urgency or Urgency()
        self._counters: dict[str, float] = {"rounds": 0, "errors": 0}
        self._last_error = ""
        self._pause = Pause(store, self.name)

    def concerns(self, event: Event) -> bool:  # noqa: ARG002 - what others tell apart
        """Whether an event is a reason to go round at once; without one, the interval's end is."""
        return True

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
            if self.patient:
                await self._urgency.calm()
            record = await self._guarded_round()
            if record is not None:
                await self._report(record)

    async def _wait(self, seen: int) -> int:
        if not self.event_driven:
            await asyncio.sleep(self._interval_seconds)
            return seen
        feed = self._store.feed
        try:
            async with asyncio.timeout(self._interval_seconds):
                await feed.reason(self._is_reason, seen)
        except TimeoutError:
            pass
        except Unavailable as error:
            if error.reason == SHUTTING_DOWN:
                raise
            await asyncio.sleep(_RETRY_SECONDS)  # what there is to do is looked for all the same
        return feed.newest

    def _is_reason(self, event: Event) -> bool:
        return self.concerns(event) or (event.noun is Noun.AGENT and event.id == self.name and event.kind == _RESUMED)

    async def _guarded_round(self) -> tuple[AgentStatus, str | None, str] | None:
        """Go round unless paused. Return what to record, or None if nothing changed."""
        try:
            if await self._pause.holds():
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
