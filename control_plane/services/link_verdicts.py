"""Ends attempts whose end may be a GPU's fault: at once when the fault is told, else after a short grace."""

import asyncio
from functools import partial
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import Unavailable
from control_plane.governor import verdicts
from control_plane.model.ids import AllocationId
from control_plane.store.database import Store

log = structlog.get_logger()

_LOOK_SECONDS: Final = 0.5


class LinkVerdicts:
    """One loop. The grace counts from when an attempt is first seen here, so a restart gives it anew."""

    def __init__(self, store: Store, *, grace_seconds: float, clock: Clock) -> None:
        self._store = store
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._since: dict[AllocationId, float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except Unavailable as error:
                log.warning("link.verdicts_wait", why=error.message)

    async def look(self) -> None:
        """End every attempt whose verdict is clear by now. Raises Unavailable."""
        waiting = await self._store.read(verdicts.doubts)
        now = self._clock.monotonic()
        self._since = {one.allocation_id: self._since.get(one.allocation_id, now) for one in waiting}
        for one in waiting:
            if not one.settled and now - self._since[one.allocation_id] < self._grace_seconds:
                continue
            try:
                await self._store.write(partial(verdicts.conclude, allocation_id=one.allocation_id))
            except Unavailable:
                raise
            except Exception:
                # One attempt's trouble is not that of the others.
                log.exception("link.verdict_failed", allocation_id=one.allocation_id)
