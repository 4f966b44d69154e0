"""Answers that can wait are given when no storm is on: each is a message, and all hosts share one interpreter."""

import asyncio
from typing import Final, NoReturn

from control_plane.services.link_outbox import Outbox
from control_plane.urgency import LONGEST_WAIT_SECONDS, Urgency

_LEASE_SECONDS: Final = 6 * LONGEST_WAIT_SECONDS
"""With a lease as long as this a host does not mind that its heartbeat is answered late."""

_AT_ONCE: Final = 64


class LateAnswers:
    """Answers to many hosts while something is urgent; belongs to one event loop. `run` it in a task group.

    None is late by more than `LONGEST_WAIT_SECONDS`, and of several to one host only the last is given.
    """

    def __init__(self, urgency: Urgency) -> None:
        self._urgency = urgency
        self._heartbeats: dict[Outbox, int] = {}
        self._spools: dict[Outbox, tuple[str, int]] = {}
        self._wake = asyncio.Event()

    def heartbeat(self, outbox: Outbox, sequence: int, *, lease_seconds: float) -> None:
        """Say that a heartbeat was received, later if the lease allows for it."""
        if self._urgency.is_urgent and lease_seconds >= _LEASE_SECONDS:
            self._heartbeats[outbox] = sequence
            self._wake.set()
        else:
            self._heartbeats.pop(outbox, None)
            outbox.put_heartbeat_ack(sequence)

    def spool(self, outbox: Outbox, spool_id: str, sequence: int) -> None:
        """Say that records are in the books. A host has few of them under way, so only one answer is late."""
        if self._spools.pop(outbox, None) is None and self._urgency.is_urgent:
            self._spools[outbox] = (spool_id, sequence)
            self._wake.set()
        else:
            outbox.put_spool_ack(spool_id, sequence)

    async def run(self) -> NoReturn:
        """Give the answers that wait, a few at a time, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._urgency.calm()
            await self._give()

    async def _give(self) -> None:
        waiting = dict.fromkeys((*self._spools, *self._heartbeats))
        for position, outbox in enumerate(waiting, start=1):
            if (spool := self._spools.pop(outbox, None)) is not None:
                outbox.put_spool_ack(*spool)
            if (sequence := self._heartbeats.pop(outbox, None)) is not None:
                outbox.put_heartbeat_ack(sequence)
            if not position % _AT_ONCE:
                await asyncio.sleep(0)  # others have their turn
