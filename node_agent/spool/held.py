"""What the spool holds, on disk and in memory, as the parts of it share it. All but the file is the loop's own."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog

from node_agent.clock import Clock
from node_agent.spool.ahead import AheadMark
from node_agent.spool.database import Damaged, Database
from node_agent.spool.files import FILE, put_aside
from node_agent.spool.items import Bounds, Loss
from node_agent.spool.window import Window

log = structlog.get_logger()

_Result = TypeVar("_Result")


class Held:
    """The file, the newest records in memory, and how far each of them has come."""

    def __init__(self, directory: Path, clock: Clock, bounds: Bounds | None = None) -> None:
        self.directory = directory
        self.clock = clock
        self.bounds = bounds or Bounds()
        self.thread = ThreadPoolExecutor(1, "spool")
        self.wake = asyncio.Event()
        self.waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.readers: set[asyncio.Future[None]] = set()
        self.unsaved: set[str] = set()
        self.forget_due = False
        self.lost_here = Loss()
        self.lost_stored = Loss()
        self.telling = Loss()
        self.loss_reason = ""
        self.lost_records = 0
        self.fault = ""
        self.broken = ""
        self.acknowledged_at: datetime | None = None

    def open(self) -> None:
        """Open the file, or a fresh one in place of one that is damaged. Raises OSError, sqlite3.Error."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ahead = AheadMark(self.directory / "ahead")
        try:
            self.database = Database(self.directory / FILE)
        except Damaged as damage:
            self.put_aside(str(damage))
            self.loss_reason = f"the spool was damaged ({damage}); how many records it held is not known"
            self.database = Database(self.directory / FILE)
        standing = self.database.standing()
        self.state = self.database.state()
        self.used_bytes = self.database.used_bytes()
        self.spool_id = standing.spool_id
        self.acknowledged = standing.acknowledged
        self.last = self.visible = max(standing.last, self.ahead.value)
        self.window = Window(self.last + 1, self.bounds)
        self.elapsed_before_seconds, self.opened_at = standing.elapsed_seconds, self.clock.monotonic()
        self.lost_stored = standing.lost
        self.wake.set()  # there may be a loss to tell

    def finish(self) -> None:
        """Write what waits, as far as the disk takes it, and close the file."""
        items = self.window.unwritten(self.bounds.memory_records)
        state = {name: self.state[name] for name in self.unsaved}
        try:
            self.database.commit(items, state, self.last, self.elapsed(), Loss())
            self.database.save({}, self.acknowledged, self.bounds.history_events)
        except sqlite3.Error as error:
            log.error("spool.not_written", records=len(items), error=str(error))  # noqa: TRY400 - the reason is whole
        self.database.close()

    def elapsed(self) -> float:
        """Return for how many seconds daemons have run with this spool, by their monotonic clocks."""
        return self.elapsed_before_seconds + self.clock.monotonic() - self.opened_at

    def note_loss(self, lost: Loss) -> None:
        """Count what was given up before it was on disk."""
        self.lost_here += lost
        self.lost_records += lost.records

    def put_aside(self, reason: str) -> None:
        """Keep a damaged file for people to look at."""
        kept = put_aside(self.directory, self.clock.now())
        log.error("spool.damaged", reason=reason, kept_as=str(kept), todo="look at the disk; events may be missing")

    async def in_thread(self, work: Callable[[], _Result]) -> _Result:
        """Do what may wait for the disk in the spool's one thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)
