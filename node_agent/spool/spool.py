"""The spool as the daemon uses it: append, read, acknowledge; the loop never waits for the disk."""

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from node_agent.clock import Clock
from node_agent.spool.database import is_damage
from node_agent.spool.held import Held
from node_agent.spool.items import Bounds, Kind, make_item, parse_item
from node_agent.spool.writer import SpoolWriter
from orquanta.v1 import health_pb2, node_link_pb2

log = structlog.get_logger()

_BATCH_RECORDS = 500  # the contract's bounds
_BATCH_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """How the spool is, for people."""

    spool_id: str
    last: int
    acknowledged: int
    used_bytes: int
    lost_records: int
    """Given up since the daemon started."""
    fault: str
    """Why records are not on disk; empty if they are."""
    acknowledged_at: datetime | None
    """When this daemon last heard that records are in the books."""


class Spool:
    """Keeps records in order until they are acknowledged. An async context; `run` must run while it is used.

    Sequences grow by one. A record is on disk when `append` returns, unless the disk refuses: then it waits in
    memory, within bounds, is written as soon as that is possible, and can be sent meanwhile. State that is saved with
    a record is stored in the same transaction, so that both survive a crash or neither.
    """

    def __init__(self, directory: Path, clock: Clock, bounds: Bounds | None = None) -> None:
        self._held = Held(directory, clock, bounds)
        self._writer = SpoolWriter(self._held)

    async def __aenter__(self) -> Self:
        """Open the spool, or a fresh one in place of one that is damaged. Raises OSError, sqlite3.Error."""
        try:
            await self._held.in_thread(self._held.open)
        except BaseException:
            self._held.thread.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, as far as the disk takes it, and close."""
        await self._held.in_thread(self._held.finish)
        self._held.thread.shutdown()

    async def run(self) -> NoReturn:
        """Write what is appended, many appends at once, until cancelled."""
        await self._writer.run()

    @property
    def spool_id(self) -> str:
        """The spool that records come from; another one after damage."""
        return self._held.spool_id

    @property
    def acknowledged(self) -> int:
        """Records up to this sequence are in the books."""
        return self._held.acknowledged

    @property
    def visible(self) -> int:
        """Records up to this sequence can be read."""
        return self._held.visible

    def status(self) -> SpoolStatus:
        """Return how the spool is."""
        return SpoolStatus(
            spool_id=self._held.spool_id,
            last=self._held.last,
            acknowledged=self._held.acknowledged,
            used_bytes=self._held.used_bytes,
            lost_records=self._held.lost_records,
            fault=self._held.fault,
            acknowledged_at=self._held.acknowledged_at,
        )

    def state(self, name: str) -> bytes:
        """Return what was saved last under `name`; empty if nothing was."""
        return self._held.state.get(name, b"")

    def save(self, name: str, value: bytes) -> None:
        """Have `value` stored with the next write, soon; the newest of a name counts."""
        self._held.state[name] = value
        self._held.unsaved.add(name)
        self._held.forget_due = True
        self._held.wake.set()

    async def append(self, *records: node_link_pb2.SpoolRecord, state: Mapping[str, bytes] | None = None) -> int:
        """Store records, whose sequences are set here, and state with them; return the last sequence.

        Returns once all of it is on disk, or the disk has refused it. Raises ValueError for a record that is too large.
        """
        stamp = Timestamp()
        stamp.FromDatetime(self._held.clock.now())
        items = []
        for number, record in enumerate(records, self._held.last + 1):
            record.sequence = number
            if not record.HasField("recorded_at"):
                record.recorded_at.CopyFrom(stamp)
            items.append(make_item(record))
        for item in items:
            self._held.last = item.sequence
            self._held.note_loss(self._held.window.add(item))
        for name, value in (state or {}).items():
            self._held.state[name] = value
            self._held.unsaved.add(name)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        last = self._held.last
        self._held.waiting.append((last, written))
        self._held.wake.set()
        await written
        return last

    async def read_from(self, sequence: int) -> node_link_pb2.SpoolBatch | None:
        """Return the oldest records from `sequence` on, as many as fit into a message; None if the disk refuses."""
        spool_id, records = self._held.spool_id, list[node_link_pb2.SpoolRecord]()
        if sequence < self._held.window.start:
            before = min(self._held.window.start, self._held.visible + 1)
            try:
                records = await self._read_file(sequence, before)
            except sqlite3.Error as error:
                if not is_damage(error):
                    log.warning("spool.not_read", error=str(error))
                elif spool_id == self._held.spool_id:  # else it was put aside meanwhile
                    self._held.broken = str(error)
                    self._held.wake.set()
                return None
        if not records:
            contents = self._held.window.read(sequence, self._held.visible, _BATCH_RECORDS, _BATCH_BYTES)
            records = [node_link_pb2.SpoolRecord.FromString(content) for content in contents]
        return node_link_pb2.SpoolBatch(spool_id=spool_id, records=records)

    async def _read_file(self, sequence: int, before: int) -> list[node_link_pb2.SpoolRecord]:
        """Return records of the file; those that the disk has spoiled are given up and counted."""
        while True:
            rows = await self._held.in_thread(
                lambda: self._held.database.read(sequence, before, _BATCH_RECORDS, _BATCH_BYTES)
            )
            parsed = {number: parse_item(number, content) for number, content in rows}
            spoiled = [number for number, record in parsed.items() if record is None]
            if not spoiled:
                return [record for record in parsed.values() if record is not None]
            lost = await self._held.in_thread(lambda: self._held.database.give_up(spoiled))  # noqa: B023 - awaited here
            log.error("spool.records_spoiled", sequences=spoiled[:10], count=len(spoiled), todo="look at the disk")
            self._held.lost_stored += lost
            self._held.lost_records += lost.records
            self._held.wake.set()

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until there is a record after `sequence` to be read."""
        while self._held.visible <= sequence:
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._held.readers.add(told)
            try:
                await told
            finally:
                self._held.readers.discard(told)

    async def events_after(self, sequence: int, limit: int) -> list[tuple[int, health_pb2.HealthEvent]]:
        """Return health events after `sequence` with their sequences, oldest first, also those in the books."""
        try:
            rows = await self._held.in_thread(lambda: self._held.database.events_after(sequence, limit))
        except sqlite3.Error as error:
            log.warning("spool.not_read", error=str(error))
            rows = []
        if len(rows) < limit:  # what the disk refused is in memory
            known = rows[-1][0] if rows else sequence
            rows += [
                (item.sequence, item.content)
                for item in self._held.window.unwritten(limit)
                if known < item.sequence <= self._held.visible and item.kind is Kind.HEALTH_EVENT
            ]
        parsed = [(number, parse_item(number, content)) for number, content in rows]
        return [(number, record.health_event) for number, record in parsed if record is not None]

    async def acknowledge(self, spool_id: str, sequence: int) -> None:
        """Take note that everything up to `sequence` is in the books. Nothing is waited for."""
        if spool_id != self._held.spool_id or sequence <= self._held.acknowledged:
            return
        if sequence > self._held.last:
            # The books know numbers that this host has never given: its state directory is an older copy.
            await self._rename(sequence)
            return
        self._held.acknowledged = sequence
        self._held.acknowledged_at = self._held.clock.now()
        self._held.window.note_acknowledged(sequence)
        self._held.forget_due = True
        self._held.wake.set()

    async def _rename(self, sequence: int) -> None:
        log.error("spool.behind_the_books", last=self._held.last, in_books=sequence, doing="a fresh spool is begun")
        try:
            self._held.spool_id = await self._held.in_thread(self._held.database.rename)
        except sqlite3.Error as error:
            log.error("spool.not_renamed", error=str(error))  # noqa: TRY400 - the reason is whole
