"""Sees to it that an engine of the site runs nothing for this host that nobody here follows."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import structlog

from node_agent.jobs.executor import EngineAwayError, Executor
from node_agent.jobs.spec import MemberKey

log = structlog.get_logger()

_LOOK_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


class Elsewhere:
    """Ends what the engine runs under the names of members whose directories, or supervisors, are gone."""

    def __init__(
        self, executor: Executor, *, is_followed: Callable[[MemberKey], bool], on_ended: Callable[[], None]
    ) -> None:
        """`on_ended` is called whenever the engine has taken the order to end a job."""
        self._executor = executor
        self._is_followed = is_followed
        self._on_ended = on_ended
        self._ending: set[MemberKey] = set()
        self._ordered = asyncio.Event()

    def allow(self) -> None:
        """Take note that a control plane gives orders to this daemon: it is no copy of one that runs elsewhere."""
        self._ordered.set()

    async def ordered(self) -> None:
        """Wait until `allow` was called: what the engine runs for a copy's original is not the copy's to end."""
        await self._ordered.wait()

    def is_ending(self, key: MemberKey) -> bool:
        """Tell whether the engine is being asked to end a member's job: until it has taken that, the job may run."""
        return key in self._ending

    def end(self, key: MemberKey) -> Coroutine[Any, Any, None]:
        """Have the engine end all that it runs under the member's name; asks until it has taken that.

        `is_ending` tells of it at once, before what is returned is awaited.
        """
        self._ending.add(key)
        return self._end(key)

    async def _end(self, key: MemberKey) -> None:
        pause = _FIRST_PAUSE_SECONDS
        try:
            while not await asyncio.to_thread(self._executor.end, key):
                log.warning(
                    "job.engine_away", member=str(key), todo="see that the site's engine answers: it runs there"
                )
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
        finally:
            self._ending.discard(key)
        self._on_ended()

    async def run(self) -> NoReturn:
        """Look as soon as `allow` was called, and again and again, until cancelled."""
        await self.ordered()
        told = ""
        while True:
            try:
                await self._look()
                told = ""
            except EngineAwayError as error:
                if str(error) != told:  # once for each reason
                    log.warning("job.engine_not_asked", reason=str(error))
                told = str(error)
            except Exception:
                log.exception("job.engine_look_failed")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        for key in await asyncio.to_thread(self._executor.unended):
            if not self._is_followed(key) and key not in self._ending:
                log.warning("job.left_in_engine", member=str(key), todo="it is ended there, for nobody follows it here")
                await self.end(key)
