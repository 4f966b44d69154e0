"""Members' output on its way to the control plane: at least once, in order, with offsets.

The disk holds the truth; this sends what NATS has not acknowledged yet. One chunk of a member is under way at a
time, so order and back-pressure need no more machinery: while NATS is slow, output gathers on disk.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn, Protocol

import structlog

from node_agent.link.backoff import Backoff
from node_agent.link.broker import Broker, BrokerAway
from node_agent.link.shipped import ShippedFile
from orquanta.v1 import event_pb2, job_pb2

log = structlog.get_logger()

CHUNK_BYTES = 192 * 1024  # of one message with all that is around the output; the stream takes 256 KiB
_AROUND_BYTES = 32  # around the output of one record: stream, time, lengths
_STUCK_ATTEMPTS = 8  # of one chunk: about 10 seconds
_COALESCE_SECONDS = 0.05
_ENDED_AT_ONCE = 4  # members that ended while NATS was away catch up a few at a time


@dataclass(frozen=True, slots=True)
class LogKey:
    """One member of an allocation."""

    allocation_id: str
    job_id: str
    epoch: int
    rank: int


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Output of one stream; `offset` counts the member's bytes on both streams together."""

    offset: int
    stream: job_pb2.LogStream.ValueType
    data: bytes
    read_at: datetime


class LogSource(Protocol):
    """Where the output is kept."""

    def unshipped(self) -> Sequence[tuple[LogKey, bool]]:
        """Return the members whose logs are to be shipped, each with whether it has ended."""
        ...

    def follow(self, key: LogKey, offset: int) -> AsyncIterator[LogPiece]:
        """Yield output from `offset` on until the member has ended and all is read; an async generator."""
        ...


class LogShipper:
    """Sends every member's output while NATS is connected."""

    def __init__(
        self, source: LogSource, broker: Broker, directory: Path, *, on_shipped: Callable[[LogKey], None]
    ) -> None:
        self._source = source
        self._broker = broker
        self._directory = directory
        self._on_shipped = on_shipped
        self._files: dict[LogKey, ShippedFile] = {}
        self._changed = asyncio.Event()
        self._ended_slots = asyncio.Semaphore(_ENDED_AT_ONCE)

    def members_changed(self) -> None:
        """Look at the members again: one has started, ended or been forgotten."""
        self._changed.set()

    def is_shipped(self, key: LogKey) -> bool:
        """Tell whether NATS holds all of a member's output and the mark of its end."""
        return self._file(key).value.ended

    def forget(self, key: LogKey) -> None:
        """Remove what is remembered of a member that is gone."""
        self._file(key).forget()
        self._files.pop(key, None)

    async def run(self) -> NoReturn:
        """Ship until cancelled; to be run anew for each connection."""
        async with asyncio.TaskGroup() as group:
            tasks: dict[LogKey, asyncio.Task[None]] = {}
            while True:
                self._changed.clear()
                for key in [key for key, task in tasks.items() if task.done()]:
                    del tasks[key]
                for key, ended in self._source.unshipped():
                    if key not in tasks and not self.is_shipped(key):
                        tasks[key] = group.create_task(self._ship_in_turn(key, ended=ended))
                await self._changed.wait()

    async def _ship_in_turn(self, key: LogKey, *, ended: bool) -> None:
        if not ended:
            await self._ship(key)
            return
        async with self._ended_slots:
            await self._ship(key)

    async def _ship(self, key: LogKey) -> None:
        """Send one member's output from where NATS has it to its end."""
        file = self._file(key)
        begin = file.value
        queue: asyncio.Queue[LogPiece | None] = asyncio.Queue(maxsize=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(key, begin.acknowledged, queue))
            batches = _Batches(queue, first_end=begin.attempted)
            while pieces := await batches.take():
                end = pieces[-1].offset + len(pieces[-1].data)
                file.attempt(end)
                await self._publish(key, file, pieces, end)
                file.acknowledge(end, ended=False)
        await self._publish(key, file, [], file.value.acknowledged)
        file.acknowledge(file.value.acknowledged, ended=True)
        self._on_shipped(key)

    async def _read(self, key: LogKey, offset: int, queue: asyncio.Queue[LogPiece | None]) -> None:
        async with aclosing(self._source.follow(key, offset)) as pieces:  # type: ignore[type-var] # follow is a generator
            async for piece in pieces:
                await queue.put(piece)
        await queue.put(None)

    async def _publish(self, key: LogKey, file: ShippedFile, pieces: Sequence[LogPiece], end: int) -> None:
        """Send one chunk until NATS has it; no pieces mean that nothing follows.

        A chunk begins where the one before it ended. If it holds less than it spans, its first bytes were lost.
        """
        begin = file.value.acknowledged
        chunk = event_pb2.LogChunk(
            job_id=key.job_id,
            allocation_id=key.allocation_id,
            epoch=key.epoch,
            rank=key.rank,
            offset=begin,
            next_offset=end,
            end=not pieces,
        )
        for piece in pieces:
            chunk.records.add(stream=piece.stream, data=piece.data).read_at.FromDatetime(piece.read_at)
        name = f"{key.allocation_id}.{key.rank}.{begin}-{end if pieces else 'end'}.{file.value.salt}"
        data = chunk.SerializeToString()
        backoff = Backoff()
        for attempt in itertools.count(1):
            try:
                await self._broker.publish_log(key.job_id, data, message_id=name)
            except BrokerAway as error:
                tell = log.warning if attempt == _STUCK_ATTEMPTS else log.debug
                tell("logs.not_acknowledged", allocation_id=key.allocation_id, bytes=len(data), reason=str(error))
                await asyncio.sleep(backoff.next_seconds())
            else:
                return

    def _file(self, key: LogKey) -> ShippedFile:
        if key not in self._files:
            self._files[key] = ShippedFile(self._directory / f"{key.allocation_id}.{key.rank}")
        return self._files[key]


class _Batches:
    """Cuts a stream of pieces into what one chunk can hold: without a gap, bounded, gathered for a moment."""

    def __init__(self, queue: asyncio.Queue[LogPiece | None], *, first_end: int) -> None:
        self._queue = queue
        self._first_end = first_end
        """The first batch ends exactly here, so that it is the same chunk as before a restart."""
        self._left: LogPiece | None = None
        self._over = False

    async def take(self) -> list[LogPiece]:
        """Return the next batch; an empty one at the end."""
        pieces: list[LogPiece] = []
        size = 0
        deadline: float | None = None
        while (piece := await self._next(deadline)) is not None:
            if pieces and piece.offset != pieces[-1].offset + len(pieces[-1].data):
                self._left = piece  # bytes before it are lost, which is told at the front of a chunk only
                break
            room = CHUNK_BYTES - size - _AROUND_BYTES
            if piece.offset < self._first_end:
                room = min(room, self._first_end - piece.offset)
            if len(piece.data) > room:
                self._left = replace(piece, offset=piece.offset + room, data=piece.data[room:])
                piece = replace(piece, data=piece.data[:room])
            pieces.append(piece)
            size += len(piece.data) + _AROUND_BYTES
            end = piece.offset + len(piece.data)
            if size >= CHUNK_BYTES - _AROUND_BYTES or end == self._first_end:
                break
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + _COALESCE_SECONDS
        return pieces

    async def _next(self, deadline: float | None) -> LogPiece | None:
        """Return the next piece, or None when there is none before the deadline or none at all."""
        if self._left is not None:
            piece, self._left = self._left, None
            return piece
        if self._over:
            return None
        try:
            async with asyncio.timeout_at(deadline):
                got = await self._queue.get()
        except TimeoutError:
            return None
        self._over = got is None
        return got
