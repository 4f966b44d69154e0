"""A job's output over all its attempts, as one stream that can be resumed.

A resume token is the attempt and the log store's own position in it: `2|0:4096,1:512`.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from control_plane.errors import InvalidArgument, NotFound
from control_plane.model.ids import JOB, JobId
from control_plane.model.job import Allocation, Job
from control_plane.model.record import Noun
from control_plane.services.convert.scalars import timestamp
from control_plane.services.validate.fields import Fields
from control_plane.store import events, jobs
from control_plane.store.database import Store
from control_plane.store.feed import EventFeed
from control_plane.telemetry.log_ending import just_ended, output_may_come
from control_plane.telemetry.log_reader import LogEntry, parse_position
from control_plane.telemetry.logs import TAIL_LINES_MAX, LogStore
from orquanta.v1 import job_pb2

RANK_MAX: Final = 4_095
EPOCH_MAX: Final = 1_000_000

_TOKEN: Final = re.compile(r"([0-9]{1,7})\|([0-9:,]{0,65536})")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a reader asked for. `epoch` 0: the newest attempt, and those that follow it."""

    job_id: JobId
    epoch: int
    rank: int | None
    follow: bool
    tail_lines: int


class JobLogs:
    """Reads job output from the log store, attempt by attempt."""

    def __init__(self, *, store: Store, feed: EventFeed, logs: LogStore) -> None:
        self._store = store
        self._feed = feed
        self._logs = logs

    async def read(self, request: job_pb2.ReadLogsRequest) -> AsyncIterator[job_pb2.ReadLogsResponse]:
        """Yield output; with `follow`, until the job has ended and all of its output was sent.

        Without it, of an attempt that has just ended, what is on its way is waited for some seconds.

        Raises InvalidArgument, NotFound, Unavailable.
        """
        wanted = _checked(request)
        epoch, position = _resume_point(request.resume_token) or (wanted.epoch, "")
        tail_lines = 0 if request.resume_token else wanted.tail_lines
        while True:
            sequence, job = await self._job(wanted.job_id)
            allocation = _attempt(job, epoch)
            if allocation is None:
                if epoch and not wanted.follow:
                    raise NotFound(
                        f"job {job.id} has no attempt {epoch}; it has had {job.epoch}", reason="ATTEMPT_NOT_FOUND"
                    )
                if not wanted.follow or job.state.ended:
                    return
                await self._changed(wanted.job_id, sequence)
                continue
            async with aclosing(self._attempt_output(wanted, allocation, tail_lines, position)) as entries:
                async for entry in entries:
                    yield _response(entry)
            if wanted.epoch or not wanted.follow:
                return
            epoch, position, tail_lines = allocation.epoch + 1, "", 0

    async def _attempt_output(
        self, wanted: _Wanted, allocation: Allocation, tail_lines: int, position: str
    ) -> AsyncGenerator[LogEntry, None]:
        ranks = _ranks(allocation, wanted.rank)
        # What a job wrote last comes after word of its end, and whoever asks then wants it too.
        if wanted.follow or just_ended(allocation, self._store.clock.now()):

            async def finished() -> bool:
                if not wanted.follow:
                    return True
                _, job = await self._job(wanted.job_id)
                attempt = _attempt(job, allocation.epoch)
                return attempt is None or not output_may_come(attempt, self._store.clock.now())

            source = self._logs.follow(
                wanted.job_id,
                allocation.epoch,
                ranks=ranks,
                finished=finished,
                tail_lines=tail_lines,
                position=position,
            )
        else:
            source = self._logs.read(
                wanted.job_id, allocation.epoch, ranks=ranks, tail_lines=tail_lines, position=position
            )
        async for entry in source:
            yield entry

    async def _job(self, job_id: JobId) -> tuple[int, Job]:
        """Return a job, and an event that it is at least as new as."""
        return await self._store.read(lambda tx: (events.newest(tx), jobs.require(tx, job_id)))

    async def _changed(self, job_id: JobId, position: int) -> None:
        """Wait until the job has an event after `position`."""
        while True:
            newest, found = await self._feed.beyond(position)
            if found is None or any(event.noun is Noun.JOB and event.id == job_id for event in found):
                return
            position = newest


def _checked(request: job_pb2.ReadLogsRequest) -> _Wanted:
    fields = Fields()
    job_id = fields.id("job_id", JOB, request.job_id)
    epoch = fields.integer("epoch", request.epoch, least=0, most=EPOCH_MAX)
    rank = None
    if request.HasField("rank"):
        rank = fields.integer("rank", request.rank, least=0, most=RANK_MAX)
    tail_lines = fields.integer("tail_lines", request.tail_lines, least=0, most=TAIL_LINES_MAX)
    fields.check()
    return _Wanted(job_id, epoch, rank, request.follow, tail_lines)


def _resume_point(token: str) -> tuple[int, str] | None:
    if not token:
        return None
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidArgument(
            "resume_token is not one of a job's output; pass the last one received, or none to start over",
            reason="RESUME_TOKEN_INVALID",
            metadata={"field": "resume_token"},
        )
    parse_position(match[2])
    return int(match[1]), match[2]


def _attempt(job: Job, epoch: int) -> Allocation | None:
    """Return the attempt of this number; 0: the newest."""
    if not epoch:
        return job.allocations[-1] if job.allocations else None
    return next((allocation for allocation in job.allocations if allocation.epoch == epoch), None)


def _ranks(allocation: Allocation, rank: int | None) -> Sequence[int]:
    ranks = [member.rank for member in allocation.members]
    if rank is None:
        return ranks
    if rank not in ranks:
        raise InvalidArgument(
            f"attempt {allocation.epoch} has the ranks 0 to {len(ranks) - 1}, not {rank}",
            reason="RANK_UNKNOWN",
            metadata={"field": "rank"},
        )
    return [rank]


def _response(entry: LogEntry) -> job_pb2.ReadLogsResponse:
    return job_pb2.ReadLogsResponse(
        epoch=entry.epoch,
        rank=entry.rank,
        stream=job_pb2.LogStream.Value(f"LOG_STREAM_{entry.stream.name}"),
        data=entry.data,
        read_at=timestamp(entry.read_at),
        lost_bytes=entry.lost_bytes,
        resume_token=f"{entry.epoch}|{entry.position}",
    )
