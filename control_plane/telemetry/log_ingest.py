"""Job output from the broker into the log store: checked, stored, synced, and only then acknowledged."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from control_plane.bus.client import Bus, Delivery
from control_plane.bus.streams import Stream
from control_plane.bus.subjects import NodeSubjectKind, parse_node_subject
from control_plane.clock import Clock
from control_plane.errors import InvalidArgument, OrQuantaError
from control_plane.model.ids import AllocationId, JobId, NodeId
from control_plane.store import allocations, audit, jobs
from control_plane.store.database import Store, Tx
from control_plane.telemetry.log_chunks import read_chunk
from control_plane.telemetry.log_file import Appended, LogChunk
from control_plane.telemetry.logs import LogStore

log = structlog.get_logger()

DURABLE: Final = "log-store"

_BATCH: Final = 256
_BATCH_BYTES: Final = 8 * 1024 * 1024
_FORGET_SECONDS: Final = 2 * 86_400.0
"""The broker forgets how far a replica was that is away for so long: output is kept there for a day."""

_QUEUED: Final = 512  # deliveries between the broker and the disk
_ACK_WAIT_SECONDS: Final = 10.0
_GAP_RETRY_SECONDS: Final = 2.0
_GAP_DELIVERIES: Final = 8
"""A chunk whose predecessor is missing is put back this often: longer than it takes the broker to deliver again what
a control plane had taken and not acknowledged when it was killed. Then what is missing is lost."""

_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 15.0
_OWNERS_CACHED: Final = 8192
_UNKNOWN_SECONDS: Final = 5.0  # that there is no such allocation is believed this long
_NODES_AUDITED: Final = 1024


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose an allocation is: its job, its attempt, and the node of each rank. None: there is no such allocation."""

    job_id: JobId | None
    epoch: int
    nodes: tuple[NodeId, ...]
    looked_up_at: float


@dataclass(slots=True)
class LogCounts:
    """What came in since the control plane started, in chunks."""

    stored: int = 0
    repeats: int = 0
    put_back: int = 0
    garbage: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Taken:
    """A delivery and the chunk in it."""

    delivery: Delivery
    node_id: NodeId
    chunk: LogChunk


class LogIngest:
    """The loop from the broker to the log store; `run` it in a task group.

    Each `replica` of the control plane takes all output into a log store of its own.
    """

    def __init__(self, bus: Bus, logs: LogStore, store: Store, *, clock: Clock, replica: str = "") -> None:
        self._bus = bus
        self._durable = f"{DURABLE}-{replica}" if replica else DURABLE
        self._forget_seconds = _FORGET_SECONDS if replica else 0.0
        self._logs = logs
        self._store = store
        self._clock = clock
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue(_QUEUED)
        self._owners: OrderedDict[AllocationId, _Owner] = OrderedDict()
        self._audited: OrderedDict[NodeId, None] = OrderedDict()
        self.counts = LogCounts()
        self.trouble = ""
        """Why job output is not being stored just now, for a person; empty while all is well."""

    async def run(self) -> None:
        """Take and store until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump())
            tasks.create_task(self._write())

    async def _pump(self) -> None:
        deliveries = self._bus.consume(
            Stream.LOGS,
            self._durable,
            batch=_BATCH,
            ack_wait_seconds=_ACK_WAIT_SECONDS,
            max_in_flight=4 * _BATCH,
            forget_after_seconds=self._forget_seconds,
        )
        async for delivery in deliveries:
            await self._queue.put(delivery)

    async def _write(self) -> None:
        while True:
            batch = [await self._queue.get()]
            size = len(batch[0].data)
            while len(batch) < _BATCH and size < _BATCH_BYTES and not self._queue.empty():
                batch.append(self._queue.get_nowait())
                size += len(batch[-1].data)
            await self._store_until_done(batch)
            if self._logs.over_total:
                await self._prune()

    async def _store_until_done(self, batch: list[Delivery]) -> None:
        """Nothing is skipped: what comes later would make what is skipped look like a repeat."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._store_batch(batch)
            except OrQuantaError as error:
                if not self.trouble:
                    log.warning("job_logs.not_stored", why=error.message, reason=error.reason)
                self.trouble = error.message
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                if self.trouble:
                    log.info("job_logs.stored_again")
                self.trouble = ""
                return

    async def _store_batch(self, batch: list[Delivery]) -> None:
        taken = await self._checked(batch)
        taken.sort(key=lambda one: one.chunk.offset)  # deliveries of one member may come out of order
        outcomes = await self._logs.append([(one.chunk, one.delivery.deliveries >= _GAP_DELIVERIES) for one in taken])
        for one, outcome in zip(taken, outcomes, strict=True):
            match outcome:
                case Appended.STORED:
                    self.counts.stored += 1
                    await one.delivery.ack()
                case Appended.REPEAT:
                    self.counts.repeats += 1
                    await one.delivery.ack()
                case Appended.GAP:
                    self.counts.put_back += 1
                    await one.delivery.retry(_GAP_RETRY_SECONDS)

    async def _checked(self, batch: list[Delivery]) -> list[_Taken]:
        """Drop what is not a chunk of a member on the node that sent it."""
        readable: list[_Taken] = []
        settled: list[Delivery] = []
        for delivery in batch:
            try:
                readable.append(_read(delivery))
            except (InvalidArgument, DecodeError, ValueError) as error:
                self.counts.garbage += 1
                log.warning("job_logs.garbage", subject=delivery.subject, why=str(error))
                settled.append(delivery)
        await self._look_up({one.chunk.allocation_id for one in readable})
        good = [one for one in readable if self._owns(one)]
        bad = [one for one in readable if not self._owns(one)]
        for one in bad:
            self.counts.refused += 1
            await self._audit(one)
            settled.append(one.delivery)
        for delivery in settled:
            batch.remove(delivery)
            await delivery.discard()
        return good

    async def _look_up(self, wanted: set[AllocationId]) -> None:
        now = self._clock.monotonic()
        for allocation_id in wanted & self._owners.keys():
            self._owners.move_to_end(allocation_id)  # what is wanted now must not be what goes when it is full
        missing = {
            allocation_id
            for allocation_id in wanted
            if (owner := self._owners.get(allocation_id)) is None
            or (owner.job_id is None and now - owner.looked_up_at > _UNKNOWN_SECONDS)
        }
        if not missing:
            return

        def find(tx: Tx) -> dict[AllocationId, _Owner]:
            found = {}
            for allocation_id in missing:
                allocation = allocations.get(tx, allocation_id)
                if allocation is None:
                    found[allocation_id] = _Owner(None, 0, (), now)
                    continue
                members = sorted(allocation.members, key=lambda member: member.rank)
                nodes = tuple(member.node_id for member in members)
                found[allocation_id] = _Owner(allocation.job_id, allocation.epoch, nodes, now)
            return found

        for allocation_id, owner in (await self._store.read(find)).items():
            self._owners[allocation_id] = owner
            self._owners.move_to_end(allocation_id)
        while len(self._owners) > _OWNERS_CACHED + len(wanted):
            self._owners.popitem(last=False)

    def _owns(self, one: _Taken) -> bool:
        chunk = one.chunk
        owner = self._owners[chunk.allocation_id]
        return (
            owner.job_id == chunk.job_id
            and owner.epoch == chunk.epoch
            and chunk.rank < len(owner.nodes)
            and owner.nodes[chunk.rank] == one.node_id
        )

    async def _audit(self, one: _Taken) -> None:
        """Once for each node: the count goes on in the log and in `counts`."""
        log.warning("job_logs.refused", node_id=one.node_id, job_id=one.chunk.job_id, rank=one.chunk.rank)
        if one.node_id in self._audited:
            return
        payload = {"allocation_id": one.chunk.allocation_id, "epoch": one.chunk.epoch, "rank": one.chunk.rank}

        def record(tx: Tx) -> None:
            audit.append(
                tx,
                agent_name="log-ingest",
                action="job_log.refuse",
                reasoning="the node sent output of a job that it does not run; it may be in a stranger's hands",
                outcome="refused",
                payload=payload,
                job_id=one.chunk.job_id,
                node_id=one.node_id,
            )

        await self._store.write(record)
        self._audited[one.node_id] = None
        while len(self._audited) > _NODES_AUDITED:
            self._audited.popitem(last=False)

    async def _prune(self) -> None:
        async def ended(job_ids: Sequence[JobId]) -> frozenset[JobId]:
            states = await self._store.read(lambda tx: jobs.states(tx, set(job_ids)))
            # Output of a job that is not in the books is nobody's.
            return frozenset(job for job in job_ids if job not in states or states[job].ended)

        try:
            await self._logs.prune(ended)
        except (OrQuantaError, OSError) as error:
            log.warning("job_logs.not_pruned", why=str(error))


def _read(delivery: Delivery) -> _Taken:
    """Raises InvalidArgument, DecodeError or ValueError if it is not a chunk of job output."""
    subject = parse_node_subject(delivery.subject)
    if subject.kind is not NodeSubjectKind.LOG or subject.job_id is None:
        raise ValueError("not a subject of job output")
    return _Taken(delivery, subject.node_id, read_chunk(delivery.data, subject.job_id))
