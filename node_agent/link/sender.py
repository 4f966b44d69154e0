"""Sends the spool over one stream: at once, in order, from the first record that is not acknowledged."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from node_agent.link.host import Records
from orquanta.v1 import node_link_pb2

_BATCHES_UNDER_WAY = 4  # sent and not acknowledged; a batch has at most 1 MiB
_LOOK_SECONDS = 10.0  # whether another spool was begun meanwhile
_READ_AGAIN_SECONDS = 1.0  # after the disk refused


class SpoolSender:
    """Follows the spool for as long as one stream lives. The control plane drops what it has already.

    Nothing is sent twice on one stream: while the control plane cannot write its books, it keeps what it was sent.
    """

    def __init__(self, records: Records, send: Callable[[node_link_pb2.SpoolBatch], None]) -> None:
        self._records = records
        self._send = send
        self._under_way: deque[int] = deque()
        self._room = asyncio.Event()
        self._spool_id = ""
        self._sent = 0

    async def run(self) -> NoReturn:
        """Send until cancelled."""
        self._start_over()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._room.wait()
                    await self._records.wait_beyond(self._sent)
            if self._records.spool_id != self._spool_id:
                self._start_over()
            elif self._room.is_set() and self._records.visible > self._sent:
                await self._send_some()

    async def acknowledge(self, ack: node_link_pb2.SpoolAck) -> None:
        """Take note of what is in the books."""
        await self._records.acknowledge(ack.spool_id, ack.sequence)
        if ack.spool_id == self._spool_id:
            while self._under_way and self._under_way[0] <= ack.sequence:
                self._under_way.popleft()
            self._room.set()

    async def _send_some(self) -> None:
        batch = await self._records.read_from(self._sent + 1)
        if batch is None:
            await asyncio.sleep(_READ_AGAIN_SECONDS)
        elif batch.spool_id != self._spool_id:
            self._start_over()
        elif batch.records:
            self._sent = batch.records[-1].sequence
            self._under_way.append(self._sent)
            if len(self._under_way) >= _BATCHES_UNDER_WAY:
                self._room.clear()
            self._send(batch)
        else:
            self._sent = self._records.visible  # they were given up meanwhile

    def _start_over(self) -> None:
        self._spool_id = self._records.spool_id
        self._sent = self._records.acknowledged
        self._under_way.clear()
        self._room.set()
