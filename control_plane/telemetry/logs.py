"""The output of jobs, on disk: `<directory>/<job id>/<epoch>.<rank>.log`, bounded for each member and in total.

The host's own file is the truth while a job runs; this copy is for reading, and outlives the host.
"""

import asyncio
import shutil
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from control_plane.errors import InvalidArgument, ResourceExhausted
from control_plane.model.ids import JOB, JobId, parse_id
from control_plane.telemetry.log_file import Appended, LogChunk, MemberLog
from control_plane.telemetry.log_reader import LogEntry, LogReader, parse_position

log = structlog.get_logger()

TAIL_LINES_MAX: Final = 10_000

_MIB: Final = 1024 * 1024
_ENDS_REMEMBERED: Final = 8192  # members whose end of file is known; about 300 bytes each
_LEAST_FILE_BYTES: Final = 4096  # what the smallest file takes on disk
_PRUNED_TO: Final = 0.9  # of the total bound
_PRUNE_BATCH: Final = 100
_POLL_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 5.0

MemberKey = tuple[JobId, int, int]
"""Job, epoch and rank."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of what is stored of an attempt. `complete`: every rank's output is there to its last byte."""

    entries: tuple[LogEntry, ...]
    complete: bool


class LogStore:
    """Stores and reads job output. One process writes; any number of readers read while it does."""

    def __init__(
        self,
        directory: Path,
        *,
        member_max_bytes: int = 64 * _MIB,
        total_max_bytes: int = 8 * 1024 * _MIB,
        poll_seconds: float = _POLL_SECONDS,
        drain_seconds: float = _DRAIN_SECONDS,
    ) -> None:
        self._directory = directory
        self._member_max_bytes = member_max_bytes
        self._total_max_bytes = total_max_bytes
        self._poll_seconds = poll_seconds
        self._drain_seconds = drain_seconds
        self._writing = asyncio.Lock()
        self._ends: OrderedDict[MemberKey, MemberLog] = OrderedDict()
        self._followers: defaultdict[JobId, set[asyncio.Event]] = defaultdict(set)
        self.total_bytes = 0

    async def start(self) -> None:
        """Make the directory and measure what is in it. Raises ResourceExhausted (DISK_FULL) or OSError."""

        def measure() -> int:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return sum(_taken(path.stat().st_size) for path in self._directory.glob("*/*.log"))

        self.total_bytes = await asyncio.to_thread(measure)

    @property
    def over_total(self) -> bool:
        """Whether more is kept than the bound allows: call `prune`."""
        return self.total_bytes > self._total_max_bytes

    async def append(self, chunks: Sequence[tuple[LogChunk, bool]]) -> list[Appended]:
        """Store chunks, in order for each member; what is STORED is durable when this returns.

        The flag beside a chunk says that what is missing before it is lost and need not be waited for.
        Raises ResourceExhausted (LOG_DISK_UNUSABLE); then some may be stored, and repeating the call is safe.
        """
        async with self._writing:
            outcomes = await asyncio.to_thread(self._append, chunks)
        for job_id in {chunk.job_id for chunk, _ in chunks}:
            for event in self._followers.get(job_id, ()):
                event.set()
        return outcomes

    async def read(
        self, job_id: JobId, epoch: int, *, ranks: Sequence[int], tail_lines: int = 0, position: str = ""
    ) -> AsyncIterator[LogEntry]:
        """Yield what is stored of an attempt, in order of time over `ranks`.

        `tail_lines` > 0 starts with the last lines (at most TAIL_LINES_MAX). `position` goes on after an entry.
        Raises InvalidArgument for a bad position.
        """
        reader = self._reader(job_id, epoch, ranks, position)
        async for entry in self._drain(reader, tail_lines):
            yield entry

    async def tail(self, job_id: JobId, epoch: int, *, ranks: Sequence[int], lines: int, wait: bool = False) -> Tail:
        """Return the last lines (at most TAIL_LINES_MAX) of what is stored of an attempt, in order of time.

        With `wait`, for an attempt that has just ended, the last of its output is waited for, up to `drain_seconds`.
        """
        found = await self._tail(job_id, epoch, ranks, lines)
        if found.complete or not wait:
            return found
        with self._following(job_id) as arrived, suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                while not self._is_complete(job_id, epoch, ranks):
                    arrived.clear()
                    await arrived.wait()
        return await self._tail(job_id, epoch, ranks, lines)

    async def follow(
        self,
        job_id: JobId,
        epoch: int,
        *,
        ranks: Sequence[int],
        finished: Callable[[], Awaitable[bool]],
        tail_lines: int = 0,
        position: str = "",
    ) -> AsyncIterator[LogEntry]:
        """Yield what is stored and then what arrives, until every rank's output is complete.

        `finished` tells whether the attempt has ended in the books: then what a lost host did not send is
        waited for only `drain_seconds` longer. Raises as `read`.
        """
        reader = self._reader(job_id, epoch, ranks, position)
        with self._following(job_id) as arrived:
            quiet_seconds = 0.0
            while True:
                arrived.clear()
                async for entry in self._drain(reader, tail_lines):
                    quiet_seconds = 0.0
                    yield entry
                tail_lines = 0
                if reader.ended or quiet_seconds >= self._drain_seconds:
                    return
                try:
                    async with asyncio.timeout(self._poll_seconds):
                        await arrived.wait()
                except TimeoutError:
                    quiet_seconds = quiet_seconds + self._poll_seconds if await finished() else 0.0

    async def prune(self, ended: Callable[[Sequence[JobId]], Awaitable[frozenset[JobId]]]) -> int:
        """Delete output of the oldest ended jobs until a tenth of the bound is free; return the bytes freed.

        If that is not enough, the largest files lose their older half.
        """
        before = self.total_bytes
        goal = int(self._total_max_bytes * _PRUNED_TO)
        jobs = await asyncio.to_thread(self._jobs_by_age)
        for start in range(0, len(jobs), _PRUNE_BATCH):
            if self.total_bytes <= goal:
                break
            batch = jobs[start : start + _PRUNE_BATCH]
            deletable = await ended(batch)
            async with self._writing:
                await asyncio.to_thread(self._delete, [job for job in batch if job in deletable], goal)
        if self.over_total:
            async with self._writing:
                await asyncio.to_thread(self._shrink_largest)
        log.info("job_logs.pruned", freed_bytes=before - self.total_bytes, kept_bytes=self.total_bytes)
        return before - self.total_bytes

    async def ranks(self, job_id: JobId, epoch: int) -> tuple[int, ...]:
        """Return the ranks of which any output is stored."""
        directory = self._directory / parse_id(JOB, job_id)

        def scan() -> tuple[int, ...]:
            names = (path.name.split(".") for path in directory.glob(f"{int(epoch)}.*.log"))
            return tuple(sorted(int(rank) for _, rank, _ in names if rank.isdecimal()))

        return await asyncio.to_thread(scan)

    def _reader(self, job_id: JobId, epoch: int, ranks: Sequence[int], position: str) -> LogReader:
        unknown = set(parse_position(position)) - set(ranks)
        if unknown:
            raise InvalidArgument(
                "this resume token belongs to another selection of ranks; start over without one",
                reason="RESUME_TOKEN_INVALID",
            )
        return LogReader(self._directory / parse_id(JOB, job_id), epoch, ranks, position)

    async def _tail(self, job_id: JobId, epoch: int, ranks: Sequence[int], lines: int) -> Tail:
        reader = self._reader(job_id, epoch, ranks, "")
        entries = await asyncio.to_thread(reader.tail, min(lines, TAIL_LINES_MAX))
        return Tail(tuple(entries), reader.ended)

    def _is_complete(self, job_id: JobId, epoch: int, ranks: Sequence[int]) -> bool:
        """Whether the end of every rank's output was stored since this process began."""
        ends = (self._ends.get((job_id, epoch, rank)) for rank in ranks)
        return all(end is not None and end.ended for end in ends)

    async def _drain(self, reader: LogReader, tail_lines: int) -> AsyncIterator[LogEntry]:
        if tail_lines:
            for entry in await asyncio.to_thread(reader.tail, min(tail_lines, TAIL_LINES_MAX)):
                yield entry
            return
        while entries := await asyncio.to_thread(reader.batch):
            for entry in entries:
                yield entry

    @contextmanager
    def _following(self, job_id: JobId) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._followers[job_id].add(event)
        try:
            yield event
        finally:
            self._followers[job_id].discard(event)
            if not self._followers[job_id]:
                del self._followers[job_id]

    def _append(self, chunks: Sequence[tuple[LogChunk, bool]]) -> list[Appended]:
        by_member: defaultdict[MemberKey, list[int]] = defaultdict(list)
        for index, (chunk, _) in enumerate(chunks):
            by_member[chunk.job_id, chunk.epoch, chunk.rank].append(index)
        outcomes: dict[int, Appended] = {}
        for key, indexes in by_member.items():
            try:
                member = self._member(key)
                before = _taken(member.size)
                results = member.append([chunks[i] for i in indexes], max_bytes=self._member_max_bytes)
            except OSError as error:
                self._ends.pop(key, None)
                raise ResourceExhausted(
                    f"job output cannot be stored in {self._directory} ({error.strerror or error}): free space on its "
                    "disk; the hosts keep sending until it is stored",
                    reason="LOG_DISK_UNUSABLE",
                ) from error
            self.total_bytes += _taken(member.size) - before
            outcomes.update(zip(indexes, results, strict=True))
        return [outcomes[index] for index in range(len(chunks))]

    def _member(self, key: MemberKey) -> MemberLog:
        member = self._ends.get(key)
        if member is None:
            member = MemberLog.open(self._path(key))
            self._ends[key] = member
            if len(self._ends) > _ENDS_REMEMBERED:
                self._ends.popitem(last=False)
        self._ends.move_to_end(key)
        return member

    def _path(self, key: MemberKey) -> Path:
        job_id, epoch, rank = key
        return self._directory / parse_id(JOB, job_id) / f"{epoch}.{rank}.log"

    def _jobs_by_age(self) -> list[JobId]:
        """Jobs whose output was written to longest ago first."""
        newest: dict[str, float] = defaultdict(float)
        for path in self._directory.glob("*/*.log"):
            newest[path.parent.name] = max(newest[path.parent.name], path.stat().st_mtime)
        return [JobId(name) for name in sorted(newest, key=lambda name: newest[name])]

    def _delete(self, jobs: Sequence[JobId], goal: int) -> None:
        for job_id in jobs:
            if self.total_bytes <= goal:
                return
            directory = self._directory / job_id
            self.total_bytes -= sum(_taken(path.stat().st_size) for path in directory.glob("*.log"))
            shutil.rmtree(directory, ignore_errors=True)
            for key in [key for key in self._ends if key[0] == job_id]:
                del self._ends[key]

    def _shrink_largest(self) -> None:
        """All that is left belongs to jobs that still run; take from those that wrote most."""
        files = sorted(self._directory.glob("*/*.log"), key=lambda path: path.stat().st_size, reverse=True)
        for path in files:
            if not self.over_total:
                return
            epoch, rank, _ = path.name.split(".")
            member = self._member((JobId(path.parent.name), int(epoch), int(rank)))
            before = _taken(member.size)
            member.drop_older_half()
            self.total_bytes -= before - _taken(member.size)


def _taken(size: int) -> int:
    return max(size, _LEAST_FILE_BYTES) if size else 0
