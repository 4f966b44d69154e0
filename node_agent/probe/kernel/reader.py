"""Read the kernel log as it is printed.

The kernel wakes the event loop for each message, so that nothing is polled. Messages are taken in slices, and other
work of the loop runs between two slices: a storm of messages delays nothing but its own tail, which the kernel's ring
buffer holds. What it overwrote meanwhile is counted and reported as `KernelLoss`.

Only what the kernel itself printed is believed: a program that may write to /dev/kmsg, in a container too, could
otherwise take a GPU out of service with one line.
"""

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from node_agent.clock import Clock
from node_agent.probe.kernel.parse import KernelParser, may_matter
from node_agent.probe.kernel.record import Record, message_lines, parse_record
from node_agent.probe.kernel.stream import LineSplitter
from node_agent.probe.observations import KernelLine, KernelLoss, KernelReport

KERNEL_LOG: Final = Path("/dev/kmsg")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_DRIVER_VERSION: Final = Path("/sys/module/nvidia/version")
_SLICE_RECORDS: Final = 256
"""Messages that are read before other work of the event loop runs; about 2 ms."""
_RECORD_BYTES: Final = 16_384
"""More than the kernel's longest record (8,192)."""
FOLLOW_SECONDS: Final = 1.0
"""How long a report waits for the rest of its lines."""
_FILE_POLL_SECONDS: Final = 0.02
"""How often a plain file is looked at; the kernel's own log is never polled."""
_BARE_PRIORITY: Final = 4
_SHOWN: Final = 200
_PASSING: Final = frozenset({errno.EPIPE, errno.EINVAL, errno.EINTR})
"""EPIPE: the kernel overwrote the next message. EINVAL: a message longer than any, which the kernel skips."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in the kernel log: what came up to it has been taken. Sequence numbers start again at each boot."""

    boot_id: str
    sequence: int
    """-1 is before the first message of the boot."""


def boot_id() -> str:
    """Return the id of this boot; empty if it cannot be read."""
    return _read_short(_BOOT_ID)


def loaded_driver_version() -> str:
    """Return the version of NVIDIA's driver that is loaded; empty if none is."""
    return _read_short(_DRIVER_VERSION)


def _read_short(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()[:64]
    except (OSError, UnicodeDecodeError):
        return ""


class KernelLog:
    """Reads `path`: /dev/kmsg, or for tests and replays a FIFO or a file of records or bare lines.

    Starts at the end; with `after`, at the first message after that place, or at the first of this boot if that place
    is of an earlier one. `parser.driver_version` may be set at any time. With `any_writer`, records that programs wrote
    count like the kernel's own, for game days; bare lines always do.
    """

    def __init__(
        self,
        path: Path = KERNEL_LOG,
        *,
        clock: Clock,
        driver_version: str = "",
        after: LogPosition | None = None,
        follow_seconds: float = FOLLOW_SECONDS,
        any_writer: bool = False,
    ) -> None:
        self.parser = KernelParser(driver_version or loaded_driver_version())
        self.opened = asyncio.Event()
        """Set once everything that is printed from now on will be reported."""
        self._path = path
        self._clock = clock
        self._boot_id = boot_id()
        self._after = after
        self._follow_seconds = follow_seconds
        self._any_writer = any_writer
        self._told_of_forgery = False
        self._read = self._taken = after.sequence if after is not None and after.boot_id == self._boot_id else -1
        self._gap_counts = after is not None
        self._lost = after is not None
        self._splitter: LineSplitter | None = None

    @property
    def position(self) -> LogPosition:
        """The place up to which `take` has had everything."""
        return LogPosition(self._boot_id, self._taken)

    async def run(self, take: Callable[[Sequence[KernelReport]], Awaitable[None]]) -> None:
        """Hand every report to `take`, in order, until cancelled; returns only if the log cannot be read.

        The next slice is read when `take` returns.
        """
        with contextlib.ExitStack() as stack:
            try:
                descriptor, pollable = self._open(at_start=self._after is not None)
                stack.callback(os.close, descriptor)
                if self._after is None and self._splitter is None:
                    await self._find_end()
            except OSError as error:
                self._unavailable(error)
                return
            self.opened.set()
            while True:
                try:
                    reports, more = self._slice(descriptor)
                    if not (reports or more):
                        reports = await self._wait(descriptor, pollable=pollable)
                except OSError as error:
                    self._unavailable(error)
                    return
                if reports:
                    await take(reports)
                self._taken = self._read
                await asyncio.sleep(0)  # other work of the loop runs here

    def read_all(self) -> list[KernelReport]:
        """Return the reports of all that the log holds now, oldest first. Raises OSError if it cannot be read."""
        descriptor, _ = self._open(at_start=True)
        self._lost = False
        try:
            found: list[KernelReport] = []
            more = True
            while more:
                reports, more = self._slice(descriptor)
                found += reports
            return found + self.parser.flush()
        finally:
            os.close(descriptor)

    def _open(self, *, at_start: bool) -> tuple[int, bool]:
        """Return a descriptor, and whether the event loop can wait for it."""
        mode = self._path.stat().st_mode
        # A FIFO is opened for writing too, so that it does not end when a writer goes away.
        flags = os.O_RDWR if stat.S_ISFIFO(mode) else os.O_RDONLY
        descriptor = os.open(self._path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISCHR(mode):
                self._splitter = LineSplitter(_RECORD_BYTES)
            if not stat.S_ISFIFO(mode):
                os.lseek(descriptor, 0, os.SEEK_SET if at_start else os.SEEK_END)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor, not stat.S_ISREG(mode)

    async def _find_end(self) -> None:
        """Learn the number of the newest message, so that `position` is right before the first one is read."""
        descriptor, _ = self._open(at_start=True)
        try:
            while True:
                for _ in range(_SLICE_RECORDS):
                    try:
                        record = parse_record(os.read(descriptor, _RECORD_BYTES))
                    except BlockingIOError:
                        self._gap_counts = self._taken >= 0
                        return
                    except OSError as error:
                        if error.errno not in _PASSING:
                            raise
                        continue
                    if record is None:
                        return
                    self._read = self._taken = record.sequence
                await asyncio.sleep(0)
        finally:
            os.close(descriptor)

    def _slice(self, descriptor: int) -> tuple[list[KernelReport], bool]:
        """Return the reports of the next messages, and whether there may be more at once."""
        reports: list[KernelReport] = []
        for _ in range(_SLICE_RECORDS if self._splitter is None else 1):
            try:
                raw = os.read(descriptor, _RECORD_BYTES)
            except BlockingIOError:
                return reports, False
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                self._lost = self._lost or error.errno == errno.EPIPE
                continue
            if not raw:
                return reports, False
            if self._splitter is None:
                record = parse_record(raw)
                if record is not None and record.sequence > self._read:
                    self._take(record, reports)
            else:
                for line in self._splitter.split(raw):
                    self._take(parse_record(line) or self._bare(line), reports)
        return reports, True

    def _bare(self, line: bytes) -> Record:
        """Return a bare line as a record, as if the kernel printed it now."""
        return Record(self._read + 1, _BARE_PRIORITY, self._clock.monotonic(), line)

    def _take(self, record: Record, reports: list[KernelReport]) -> None:
        if self._lost:
            self._lost = False
            lines = record.sequence - self._read - 1
            if self._gap_counts and lines > 0 and self._splitter is None:
                log.warning("kernel_log.lost", lines=lines)
                reports.append(KernelLoss(lines=lines, read_at=self._clock.now()))
        self._gap_counts = True
        self._read = max(self._read, record.sequence)
        if not (self.parser.follows or may_matter(record.message)):
            return
        if not (record.of_kernel or self._any_writer):
            self._note_forgery(record)
            return
        now = self._clock.now()
        for number, text in enumerate(message_lines(record.message)):
            line = KernelLine(record.sequence, record.monotonic_seconds, record.priority, text, now)
            reports += self.parser.feed(line, continues=number > 0)

    def _note_forgery(self, record: Record) -> None:
        """Tell, once, that a program wrote what only a driver prints."""
        if b"Xid" in record.message and not self._told_of_forgery:
            self._told_of_forgery = True
            log.warning(
                "kernel_log.not_of_the_kernel",
                line=message_lines(record.message)[0][:_SHOWN],
                effect="ignored, as are others of its kind",
                remedy="look who may write to /dev/kmsg; for a game day set allow_kmsg_injection",
            )

    async def _wait(self, descriptor: int, *, pollable: bool) -> list[KernelReport]:
        """Wait until there is something to read; return a report that has waited long enough for its other lines."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[bool] = loop.create_future()

        def settle(*, is_readable: bool) -> None:
            if not readable.done():
                readable.set_result(is_readable)

        follows = self.parser.follows
        with contextlib.ExitStack() as stack:
            if pollable:
                loop.add_reader(descriptor, lambda: settle(is_readable=True))
                stack.callback(loop.remove_reader, descriptor)
            if follows or not pollable:
                delay = self._follow_seconds if pollable else _FILE_POLL_SECONDS
                timer = loop.call_later(delay, lambda: settle(is_readable=not follows))
                stack.callback(timer.cancel)
            return [] if await readable else self.parser.flush()

    def _unavailable(self, error: OSError) -> None:
        log.warning(
            "kernel_log.unavailable",
            path=str(self._path),
            error=error.strerror,
            effect="no XIDs from the kernel log",
            remedy="run the daemon as root or with CAP_SYSLOG, and give its container /dev/kmsg",
        )


def scan_log(
    clock: Clock, path: Path = KERNEL_LOG, driver_version: str = "", *, any_writer: bool = False
) -> list[KernelReport]:
    """Return the reports of all that the kernel log holds now, oldest first. Raises OSError if it cannot be read."""
    return KernelLog(path, clock=clock, driver_version=driver_version, any_writer=any_writer).read_all()
