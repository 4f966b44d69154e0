"""Writes what the spool holds to its file, many appends at once, and goes on from memory while the disk refuses."""

import asyncio
import sqlite3
from contextlib import suppress
from typing import NoReturn

import structlog

from node_agent.spool.database import Database, is_damage
from node_agent.spool.files import FILE
from node_agent.spool.held import Held
from node_agent.spool.items import Loss, make_item
from node_agent.spool.window import Window
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

_COMMIT_RECORDS = 1000  # in one transaction
_RETRY_SECONDS = 2.0  # while the disk refuses
_TIDY_SECONDS = 60.0


class SpoolWriter:
    """The one loop that writes."""

    def __init__(self, held: Held) -> None:
        self._held = held

    async def run(self) -> NoReturn:
        """Write what is appended, many appends at once, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS if self._held.fault else _TIDY_SECONDS):
                    await self._held.wake.wait()
            tidy = not self._held.wake.is_set()
            self._held.wake.clear()
            await self._write()
            if self._held.forget_due and not self._held.fault:
                await self._forget()
            if (tidy or self._held.used_bytes > self._held.bounds.disk_bytes) and not self._held.fault:
                await self._trim()

    async def _write(self) -> None:
        if self._held.broken and not await self._begin_anew(self._held.broken):
            return
        while True:
            self._tell_losses()
            waiting, items = list(self._held.waiting), self._held.window.unwritten(_COMMIT_RECORDS)
            if not waiting and not items and not self._held.fault:
                return
            whole = len(items) == self._held.window.unwritten_count
            last = self._held.last if whole else items[-1].sequence
            told = self._held.telling if whole else Loss()
            names, self._held.unsaved = self._held.unsaved, set()
            state = {name: self._held.state[name] for name in names}
            elapsed = self._held.elapsed()
            try:
                self._held.used_bytes = await self._held.in_thread(
                    lambda: self._held.database.commit(items, state, last, elapsed, told)  # noqa: B023 - awaited here
                )
            except BaseException as error:
                self._held.unsaved |= names
                if not isinstance(error, sqlite3.Error):
                    raise
                if not is_damage(error):
                    await self._refused(error)
                    return
                if not await self._begin_anew(str(error)):
                    return
                continue
            self._held.window.note_written(last)
            if told:
                self._held.telling = Loss()
            await self._accepted(last)
            self._answer(waiting, last)

    def _tell_losses(self) -> None:
        """Have the next write say what was given up. While the disk refuses, it is only counted."""
        lost = self._held.lost_stored + self._held.lost_here
        if self._held.fault or not (lost or self._held.loss_reason):
            return
        reason = self._held.loss_reason or "the spool had no room for it, or it was too old"
        record = node_link_pb2.SpoolRecord(
            sequence=self._held.last + 1,
            loss=node_link_pb2.SpoolLoss(records=lost.records, telemetry_samples=lost.samples, reason=reason),
        )
        record.recorded_at.FromDatetime(self._held.clock.now())
        self._held.last += 1
        self._held.window.add(make_item(record))
        self._held.telling += self._held.lost_stored
        self._held.lost_stored = self._held.lost_here = Loss()
        self._held.loss_reason = ""
        log.error("spool.lost", records=lost.records, telemetry_samples=lost.samples, reason=reason)

    def _answer(self, waiting: list[tuple[int, asyncio.Future[None]]], last: int) -> None:
        answered = {id(entry) for entry in waiting if entry[0] <= last}
        self._held.waiting = [entry for entry in self._held.waiting if id(entry) not in answered]
        for sequence, written in waiting:
            if sequence <= last and not written.done():
                written.set_result(None)

    async def _accepted(self, last: int) -> None:
        if self._held.fault and not self._held.window.unwritten_count:
            self._held.fault = ""
            await self._held.in_thread(self._held.ahead.clear)
            log.info("spool.writes_again")
        self._show(max(last, self._held.visible))

    async def _refused(self, error: Exception) -> None:
        """Go on from memory: nobody waits for a disk that is full."""
        if not self._held.fault:
            log.error("spool.refused", error=str(error), todo="free some disk space; events are sent from memory")
        self._held.fault = str(error)
        last = self._held.last
        if await self._held.in_thread(lambda: self._held.ahead.cover(last)):
            self._show(last)
        self._answer(self._held.waiting, self._held.last)

    def _show(self, last: int) -> None:
        self._held.visible = last
        for told in self._held.readers:
            if not told.done():
                told.set_result(None)

    async def _forget(self) -> None:
        """Save what may be lost in a power cut, and drop what is in the books."""
        self._held.forget_due = False
        names, self._held.unsaved = self._held.unsaved, set()
        state = {name: self._held.state[name] for name in names}
        acknowledged = self._held.acknowledged

        def work() -> int:
            self._held.database.save(state, acknowledged, self._held.bounds.history_events)
            return self._held.database.used_bytes()

        try:
            self._held.used_bytes = await self._held.in_thread(work)
        except BaseException as error:
            self._held.unsaved |= names
            self._held.forget_due = True
            if not isinstance(error, sqlite3.Error):
                raise
            if is_damage(error):
                await self._begin_anew(str(error))
            else:
                await self._refused(error)

    async def _trim(self) -> None:
        written_before = self._held.elapsed() - self._held.bounds.age_seconds
        try:
            lost = await self._held.in_thread(
                lambda: self._held.database.trim(self._held.bounds.disk_bytes, written_before)
            )
            self._held.used_bytes = await self._held.in_thread(self._held.database.used_bytes)
        except sqlite3.Error as error:
            log.warning("spool.not_trimmed", error=str(error))
            return
        if lost:
            self._held.window.forget_written()
            self._held.lost_stored += lost
            self._held.lost_records += lost.records
            self._held.wake.set()

    async def _begin_anew(self, reason: str) -> bool:
        """Go on in a fresh file with what is in memory; what was only in the damaged one is lost and counted.

        Only `run` calls this, so that no two ever do at once: the second would put the first one's fresh file aside.
        """
        self._held.broken = reason
        try:
            self._held.spool_id = await self._held.in_thread(lambda: self._replace_file(reason))
        except (sqlite3.Error, OSError) as error:
            await self._refused(error)
            return False
        self._held.broken = ""
        kept = self._held.window.all_items()
        self._held.window = Window(kept[0].sequence if kept else self._held.last + 1, self._held.bounds)
        for item in kept:
            self._held.window.add(item)
        self._held.note_loss(Loss(records=max(0, self._held.last - self._held.acknowledged - len(kept))))
        self._held.loss_reason = f"the spool was damaged ({reason})"
        self._held.unsaved |= self._held.state.keys()
        self._held.wake.set()
        return True

    def _replace_file(self, reason: str) -> str:
        self._held.database.close()
        self._held.put_aside(reason)
        self._held.database = Database(self._held.directory / FILE)
        return self._held.database.standing().spool_id
