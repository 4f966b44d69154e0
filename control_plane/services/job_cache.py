"""Answers to GetJob, kept as bytes: the call that scripts poll with is answered without touching the store.

An answer is used only while the event feed has every committed event and none of them is about its job, so what a
caller reads is never older than what any caller was told is written.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from control_plane.model.record import Noun
from control_plane.store.feed import EventFeed
from orquanta.v1 import job_pb2

GET_JOB: Final = "/orquanta.v1.JobService/GetJob"

_ENTRIES_MAX: Final = 8_192
_BYTES_MAX: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class _Answer:
    """A serialized GetJobResponse, true as of an event."""

    response: bytes
    sequence: int


class JobCache:
    """Serialized jobs by id; the least recently stored go first when full."""

    def __init__(self, feed: EventFeed) -> None:
        self._feed = feed
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._bytes = 0

    def shortcut(self, request: bytes) -> bytes | None:
        """Return the serialized answer to a serialized GetJobRequest if it is known to be current, else None."""
        if not self._feed.current:
            return None
        try:
            job_id = job_pb2.GetJobRequest.FromString(request).job_id
        except DecodeError:
            return None  # the gate's own parsing finds the words for it
        answer = self._answers.get(job_id)
        if answer is None or not self._feed.unchanged_since(Noun.JOB, job_id, answer.sequence):
            return None
        return answer.response

    async def current(self, job_id: str) -> bytes | None:
        """Return the serialized answer after reading the newest events, if it is current then."""
        await self._feed.catch_up()
        answer = self._answers.get(job_id)
        if answer is None:
            return None
        if self._feed.unchanged_since(Noun.JOB, job_id, answer.sequence):
            return answer.response
        self._drop(job_id)
        return None

    def store(self, job_id: str, response: bytes, sequence: int) -> None:
        """Keep an answer that was read in a transaction whose newest event was `sequence`."""
        self._drop(job_id)
        self._answers[job_id] = _Answer(response, sequence)
        self._bytes += len(response)
        while len(self._answers) > _ENTRIES_MAX or self._bytes > _BYTES_MAX:
            self._drop(next(iter(self._answers)))

    def _drop(self, job_id: str) -> None:
        answer = self._answers.pop(job_id, None)
        if answer is not None:
            self._bytes -= len(answer.response)
