"""What models are writing at this moment, for those who watch; it is never stored."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from control_plane.model.ids import RunId
from control_plane.model.run import ReasoningEvent

_CHARS_MAX: Final = 16_384
"""Of one run's text that a slow reader has not taken yet; the oldest goes first."""

_RUNS_MAX: Final = 64
"""Runs whose text one reader has not taken yet; the oldest goes first."""


class DeltaReader:
    """What one reader has not taken yet: the pieces of a run that pile up become one piece."""

    def __init__(self, run_id: RunId | None) -> None:
        self.run_id = run_id
        self._pending: dict[RunId, ReasoningEvent] = {}
        self._some = asyncio.Event()

    def put(self, event: ReasoningEvent) -> None:
        """Add a piece."""
        before = self._pending.pop(event.run_id, None)
        text = event.message if before is None else before.message + event.message
        self._pending[event.run_id] = replace(event, message=text[-_CHARS_MAX:])
        while len(self._pending) > _RUNS_MAX:
            self._pending.pop(next(iter(self._pending)))
        self._some.set()

    async def __aiter__(self) -> AsyncIterator[ReasoningEvent]:
        """Give each piece as it comes, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            pending, self._pending = self._pending, {}
            for event in pending.values():
                yield event


class Deltas:
    """Hands pieces of text to whoever reads at this moment. Belongs to one event loop."""

    def __init__(self) -> None:
        self._readers: set[DeltaReader] = set()

    @property
    def wanted(self) -> bool:
        """Whether anybody reads."""
        return bool(self._readers)

    def publish(self, event: ReasoningEvent) -> None:
        """Hand a MODEL_DELTA to the readers of its run and of all runs. `sequence` is that of the event before."""
        for reader in self._readers:
            if reader.run_id in (None, event.run_id):
                reader.put(event)

    @contextmanager
    def reader(self, run_id: RunId | None = None) -> Iterator[DeltaReader]:
        """Read the pieces of a run, or of all runs."""
        one = DeltaReader(run_id)
        self._readers.add(one)
        try:
            yield one
        finally:
            self._readers.discard(one)
