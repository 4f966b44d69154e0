"""Chunks of job output from the wire: a host's word, checked."""

from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.model.ids import ALLOCATION, JobId, parse_id
from control_plane.telemetry.log_file import LogChunk, LogRecord, LogStream
from orquanta.v1 import event_pb2, job_pb2

_MAX_RECORDS: Final = 65_536
_MAX_EPOCH: Final = 1_000_000
_MAX_RANK: Final = 65_535
_MAX_OFFSET: Final = 2**62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_9999_SECONDS: Final = 253_402_300_799
_SECOND_NANOS: Final = 1_000_000_000
_STREAMS: Final = {
    job_pb2.LOG_STREAM_STDOUT: LogStream.STDOUT,
    job_pb2.LOG_STREAM_STDERR: LogStream.STDERR,
}


def read_chunk(data: bytes, job_id: JobId) -> LogChunk:
    """Return the chunk in a message about `job_id`.

    Raises DecodeError, ValueError or InvalidArgument (ID_INVALID) if it makes no sense.
    """
    wire = event_pb2.LogChunk.FromString(data)
    length = sum(len(record.data) for record in wire.records)
    if wire.job_id != job_id:
        raise ValueError("its body names another job than its subject")
    if not 1 <= wire.epoch <= _MAX_EPOCH or wire.rank > _MAX_RANK or len(wire.records) > _MAX_RECORDS:
        raise ValueError("epoch, rank or number of records out of range")
    if not wire.offset + length <= wire.next_offset <= _MAX_OFFSET:
        raise ValueError("its offsets do not fit its output")
    return LogChunk(
        job_id=job_id,
        allocation_id=parse_id(ALLOCATION, wire.allocation_id),
        epoch=wire.epoch,
        rank=wire.rank,
        offset=wire.offset,
        next_offset=wire.next_offset,
        records=tuple(
            LogRecord(_STREAMS.get(record.stream, LogStream.STDOUT), record.data, _time(record.read_at))
            for record in wire.records
            if record.data
        ),
        end=wire.end,
    )


def _time(stamp: Timestamp) -> datetime:
    if not 0 <= stamp.seconds < _YEAR_9999_SECONDS or not 0 <= stamp.nanos < _SECOND_NANOS:
        return _EPOCH
    return stamp.ToDatetime(tzinfo=UTC)
