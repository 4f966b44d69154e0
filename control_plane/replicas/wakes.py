"""Tells the other replicas that something was committed, and hears it from them. A lost message costs a second."""

import asyncio
from typing import Final

import structlog

from control_plane.bus.client import Bus, Message
from control_plane.bus.subjects import REPLICA_CHANGES
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.store.database import Store

log = structlog.get_logger()

_LOOK_SECONDS: Final = 1.0
_DIGITS_MAX: Final = 18


class Wakes:
    """Advances the store's `changes` by what other replicas commit; `run` it in a task group.

    A message is sent after the commit it is about. Commits become visible in the order of their numbers, so whoever is
    woken by a number finds everything up to it.
    """

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._newest = 0
        self._told = 0
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Tell and listen until cancelled."""
        self._store.on_commit(self._committed)
        subscription = await self._bus.subscribe(REPLICA_CHANGES, self._take)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell())
                tasks.create_task(self._look())
        finally:
            await subscription.close()

    def _committed(self, newest: int) -> None:
        self._newest = max(self._newest, newest)
        self._wake.set()

    async def _take(self, message: Message) -> None:
        if len(message.data) <= _DIGITS_MAX and message.data.isdigit():
            self._store.changes.advance(int(message.data))

    async def _tell(self) -> None:
        """Tell of the newest commit; what was committed while that was sent is told by one message."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._told = self._newest
            try:
                await self._bus.publish(REPLICA_CHANGES, str(self._told).encode())
            except OrQuantaError as error:
                log.debug("replica.not_told", why=error.message)  # the others look by themselves

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._store.changes.advance(await self._store.newest_event())
            except Unavailable as error:
                log.debug("replica.cannot_look", why=error.message)
