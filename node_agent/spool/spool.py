"""The spool as the daemon uses it: append, read, acknowledge; the loop never waits for the disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from node_agent.clock import Clock
from node_agent.spool.ahead import AheadMark
from node_agent.spool.database import Damaged, Database, is_damage
from node_agent.spool.files import FILE, put_aside
from node_agent.spool.items import Bounds, Kind, Loss, make_item, parse_item
from node_agent.spool.window import Window
from orquanta.v1 import health_pb2, node_link_pb2

log = structlog.get_logger()

_Result = TypeVar("_Result")

_COMMIT_RECORDS = 1000  # in one transaction
_RETRY_SECONDS = 2.0  # while the disk refuses
_TIDY_SECONDS = 60.0
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
        self._directory = directory
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._thread = ThreadPoolExecutor(1, "spool")
        self._wake = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._readers: set[asyncio.Future[None]] = set()
        self._unsaved: set[str] = set()
        self._forget_due = False
        self._lost_here = Loss()
        self._lost_stored = Loss()
        self._telling = Loss()
        self._loss_reason = ""
        self._lost_records = 0
        self._fault = ""
        self._broken = ""
        self._acknowledged_at: datetime | None = None

    async def __aenter__(self) -> Self:
        """Open the spool, or a fresh one in place of one that is damaged. Raises OSError, sqlite3.Error."""
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, as far as the disk takes it, and close."""
        await self._in_thread(self._finish)
        self._thread.shutdown()

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ahead = AheadMark(self._directory / "ahead")
        try:
            self._database = Database(self._directory / FILE)
        except Damaged as damage:
            self._put_aside(str(damage))
            self._loss_reason = f"the spool was damaged ({damage}); how many records it held is not known"
            self._database = Database(self._directory / FILE)
        standing = self._database.standing()
        self._state = self._database.state()
        self._used_bytes = self._database.used_bytes()
        self._spool_id = standing.spool_id
        self._acknowledged = standing.acknowledged
        self._last = self._visible = max(standing.last, self._ahead.value)
        self._window = Window(self._last + 1, self._bounds)
        self._elapsed_before_seconds, self._opened_at = standing.elapsed_seconds, self._clock.monotonic()
        self._lost_stored = standing.lost
        self._wake.set()  # there may be a loss to tell

    def _finish(self) -> None:
        items = self._window.unwritten(self._bounds.memory_records)
        state = {name: self._state[name] for name in self._unsaved}
        try:
            self._database.commit(items, state, self._last, self._elapsed(), Loss())
            self._database.save({}, self._acknowledged, self._bounds.history_events)
        except sqlite3.Error as error:
            log.error("spool.not_written", records=len(items), error=str(error))  # noqa: TRY400 - the reason is whole
        self._database.close()

    # What the daemon asks.

    @property
    def spool_id(self) -> str:
        """The spool that records come from; another one after damage."""
        return self._spool_id

    @property
    def acknowledged(self) -> int:
        """Records up to this sequence are in the books."""
        return self._acknowledged

    @property
    def visible(self) -> int:
        """Records up to this sequence can be read."""
        return self._visible

    def status(self) -> SpoolStatus:
        """Return how the spool is."""
        return SpoolStatus(
            spool_id=self._spool_id,
            last=self._last,
            acknowledged=self._acknowledged,
            used_bytes=self._used_bytes,
            lost_records=self._lost_records,
            fault=self._fault,
            acknowledged_at=self._acknowledged_at,
        )

    def state(self, name: str) -> bytes:
        """Return what was saved last under `name`; empty if nothing was."""
        return self._state.get(name, b"")

    def save(self, name: str, value: bytes) -> None:
        """Have `value` stored with the next write, soon; the newest of a name counts."""
        self._state[name] = value
        self._unsaved.add(name)
        self._forget_due = True
        self._wake.set()

    async def append(self, *records: node_link_pb2.SpoolRecord, state: Mapping[str, bytes] | None = None) -> int:
        """Store records, whose sequences are set here, and state with them; return the last sequence.

        Returns once all of it is on disk, or the disk has refused it. Raises ValueError for a record that is too large.
        """
        stamp = Timestamp()
        stamp.FromDatetime(self._clock.now())
        items = []
        for number, record in enumerate(records, self._last + 1):
            record.sequence = number
            if not record.HasField("recorded_at"):
                record.recorded_at.CopyFrom(stamp)
            items.append(make_item(record))
        for item in items:
            self._last = item.sequence
            self._note_loss(self._window.add(item))
        for name, value in (state or {}).items():
            self._state[name] = value
            self._unsaved.add(name)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        last = self._last
        self._waiting.append((last, written))
        self._wake.set()
        await written
        return last

    async def read_from(self, sequence: int) -> node_link_pb2.SpoolBatch | None:
        """Return the oldest records from `sequence` on, as many as fit into a message; None if the disk refuses."""
        spool_id, records = self._spool_id, list[node_link_pb2.SpoolRecord]()
        if sequence < self._window.start:
            before = min(self._window.start, self._visible + 1)
            try:
                records = await self._read_file(sequence, before)
            except sqlite3.Error as error:
                if not is_damage(error):
                    log.warning("spool.not_read", error=str(error))
                elif spool_id == self._spool_id:  # else it was put aside meanwhile
                    self._broken = str(error)
                    self._wake.set()
                return None
        if not records:
            contents = self._window.read(sequence, self._visible, _BATCH_RECORDS, _BATCH_BYTES)
            records = [node_link_pb2.SpoolRecord.FromString(content) for content in contents]
        return node_link_pb2.SpoolBatch(spool_id=spool_id, records=records)

    async def _read_file(self, sequence: int, before: int) -> list[node_link_pb2.SpoolRecord]:
        """Return records of the file; those that the disk has spoiled are given up and counted."""
        while True:
            rows = await self._in_thread(lambda: self._database.read(sequence, before, _BATCH_RECORDS, _BATCH_BYTES))
            parsed = {number: parse_item(number, content) for number, content in rows}
            spoiled = [number for number, record in parsed.items() if record is None]
            if not spoiled:
                return [record for record in parsed.values() if record is not None]
            lost = await self._in_thread(lambda: self._database.give_up(spoiled))  # noqa: B023 - awaited here
            log.error("spool.records_spoiled", sequences=spoiled[:10], count=len(spoiled), todo="look at the disk")
            self._lost_stored += lost
            self._lost_records += lost.records
            self._wake.set()

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until there is a record after `sequence` to be read."""
        while self._visible <= sequence:
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.add(told)
            try:
                await told
            finally:
                self._readers.discard(told)

    async def events_after(self, sequence: int, limit: int) -> list[tuple[int, health_pb2.HealthEvent]]:
        """Return health events after `sequence` with their sequences, oldest first, also those in the books."""
        try:
            rows = await self._in_thread(lambda: self._database.events_after(sequence, limit))
        except sqlite3.Error as error:
            log.warning("spool.not_read", error=str(error))
            rows = []
        if len(rows) < limit:  # what the disk refused is in memory
            known = rows[-1][0] if rows else sequence
            rows += [
                (item.sequence, item.content)
                for item in self._window.unwritten(limit)
                if known < item.sequence <= self._visible and item.kind is Kind.HEALTH_EVENT
            ]
        parsed = [(number, parse_item(number, content)) for number, content in rows]
        return [(number, record.health_event) for number, record in parsed if record is not None]

    async def acknowledge(self, spool_id: str, sequence: int) -> None:
        """Take note that everything up to `sequence` is in the books. Nothing is waited for."""
        if spool_id != self._spool_id or sequence <= self._acknowledged:
            return
        if sequence > self._last:
            # The books know numbers that this host has never given: its state directory is an older copy.
            await self._rename(sequence)
            return
        self._acknowledged = sequence
        self._acknowledged_at = self._clock.now()
        self._window.note_acknowledged(sequence)
        self._forget_due = True
        self._wake.set()

    # Writing.

    async def run(self) -> NoReturn:
        """Write what is appended, many appends at once, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS if self._fault else _TIDY_SECONDS):
                    await self._wake.wait()
            tidy = not self._wake.is_set()
            self._wake.clear()
            await self._write()
            if self._forget_due and not self._fault:
                await self._forget()
            if (tidy or self._used_bytes > self._bounds.disk_bytes) and not self._fault:
                await self._trim()

    async def _write(self) -> None:
        if self._broken and not await self._begin_anew(self._broken):
            return
        while True:
            self._tell_losses()
            waiting, items = list(self._waiting), self._window.unwritten(_COMMIT_RECORDS)
            if not waiting and not items and not self._fault:
                return
            whole = len(items) == self._window.unwritten_count
            last = self._last if whole else items[-1].sequence
            told = self._telling if whole else Loss()
            names, self._unsaved = self._unsaved, set()
            state = {name: self._state[name] for name in names}
            elapsed = self._elapsed()
            try:
                self._used_bytes = await self._in_thread(
                    lambda: self._database.commit(items, state, last, elapsed, told)  # noqa: B023 - awaited here
                )
            except BaseException as error:
                self._unsaved |= names
                if not isinstance(error, sqlite3.Error):
                    raise
                if not is_damage(error):
                    await self._refused(error)
                    return
                if not await self._begin_anew(str(error)):
                    return
                continue
            self._window.note_written(last)
            if told:
                self._telling = Loss()
            await self._accepted(last)
            self._answer(waiting, last)

    def _tell_losses(self) -> None:
        """Have the next write say what was given up. While the disk refuses, it is only counted."""
        lost = self._lost_stored + self._lost_here
        if self._fault or not (lost or self._loss_reason):
            return
        reason = self._loss_reason or "the spool had no room for it, or it was too old"
        record = node_link_pb2.SpoolRecord(
            sequence=self._last + 1,
            loss=node_link_pb2.SpoolLoss(records=lost.records, telemetry_samples=lost.samples, reason=reason),
        )
        record.recorded_at.FromDatetime(self._clock.now())
        self._last += 1
        self._window.add(make_item(record))
        self._telling += self._lost_stored
        self._lost_stored = self._lost_here = Loss()
        self._loss_reason = ""
        log.error("spool.lost", records=lost.records, telemetry_samples=lost.samples, reason=reason)

    def _note_loss(self, lost: Loss) -> None:
        self._lost_here += lost
        self._lost_records += lost.records

    def _answer(self, waiting: list[tuple[int, asyncio.Future[None]]], last: int) -> None:
        answered = {id(entry) for entry in waiting if entry[0] <= last}
        self._waiting = [entry for entry in self._waiting if id(entry) not in answered]
        for sequence, written in waiting:
            if sequence <= last and not written.done():
                written.set_result(None)

    async def _accepted(self, last: int) -> None:
        if self._fault and not self._window.unwritten_count:
            self._fault = ""
            await self._in_thread(self._ahead.clear)
            log.info("spool.writes_again")
        self._show(max(last, self._visible))

    async def _refused(self, error: Exception) -> None:
        """Go on from memory: nobody waits for a disk that is full."""
        if not self._fault:
            log.error("spool.refused", error=str(error), todo="free some disk space; events are sent from memory")
        self._fault = str(error)
        last = self._last
        if await self._in_thread(lambda: self._ahead.cover(last)):
            self._show(last)
        self._answer(self._waiting, self._last)

    def _show(self, last: int) -> None:
        self._visible = last
        for told in self._readers:
            if not told.done():
                told.set_result(None)

    async def _forget(self) -> None:
        """Save what may be lost in a power cut, and drop what is in the books."""
        self._forget_due = False
        names, self._unsaved = self._unsaved, set()
        state = {name: self._state[name] for name in names}
        acknowledged = self._acknowledged

        def work() -> int:
            self._database.save(state, acknowledged, self._bounds.history_events)
            return self._database.used_bytes()

        try:
            self._used_bytes = await self._in_thread(work)
        except BaseException as error:
            self._unsaved |= names
            self._forget_due = True
            if not isinstance(error, sqlite3.Error):
                raise
            if is_damage(error):
                await self._begin_anew(str(error))
            else:
                await self._refused(error)

    async def _trim(self) -> None:
        written_before = self._elapsed() - self._bounds.age_seconds
        try:
            lost = await self._in_thread(lambda: self._database.trim(self._bounds.disk_bytes, written_before))
            self._used_bytes = await self._in_thread(self._database.used_bytes)
        except sqlite3.Error as error:
            log.warning("spool.not_trimmed", error=str(error))
            return
        if lost:
            self._window.forget_written()
            self._lost_stored += lost
            self._lost_records += lost.records
            self._wake.set()

    # When the file is not what it should be.

    async def _begin_anew(self, reason: str) -> bool:
        """Go on in a fresh file with what is in memory; what was only in the damaged one is lost and counted.

        Only `run` calls this, so that no two ever do at once: the second would put the first one's fresh file aside.
        """
        self._broken = reason
        try:
            self._spool_id = await self._in_thread(lambda: self._replace_file(reason))
        except (sqlite3.Error, OSError) as error:
            await self._refused(error)
            return False
        self._broken = ""
        kept = self._window.all_items()
        self._window = Window(kept[0].sequence if kept else self._last + 1, self._bounds)
        for item in kept:
            self._window.add(item)
        self._note_loss(Loss(records=max(0, self._last - self._acknowledged - len(kept))))
        self._loss_reason = f"the spool was damaged ({reason})"
        self._unsaved |= self._state.keys()
        self._wake.set()
        return True

    def _replace_file(self, reason: str) -> str:
        self._database.close()
        self._put_aside(reason)
        self._database = Database(self._directory / FILE)
        return self._database.standing().spool_id

    async def _rename(self, sequence: int) -> None:
        log.error("spool.behind_the_books", last=self._last, in_books=sequence, doing="a fresh spool is begun")
        try:
            self._spool_id = await self._in_thread(self._database.rename)
        except sqlite3.Error as error:
            log.error("spool.not_renamed", error=str(error))  # noqa: TRY400 - the reason is whole

    def _put_aside(self, reason: str) -> None:
        kept = put_aside(self._directory, self._clock.now())
        log.error("spool.damaged", reason=reason, kept_as=str(kept), todo="look at the disk; events may be missing")

    def _elapsed(self) -> float:
        return self._elapsed_before_seconds + self._clock.monotonic() - self._opened_at

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
