"""Learns what is asked for, and keeps it over restarts."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import structlog

from control_plane.fleet.placement.history import History
from control_plane.fleet.queueing.model import WaitingJob

log = structlog.get_logger()

_SAVE_AFTER: Final = 100
"""Demands after which what was learned is saved."""


class Demand:
    """The history of demands. Each job counts once, when it is first seen waiting."""

    def __init__(self, saved: str) -> None:
        self.history = History()
        self._noted_until = datetime.min.replace(tzinfo=UTC)
        self._unsaved = 0
        if saved:
            try:
                document = json.loads(saved)
                self.history = History.load(document["history"])
                self._noted_until = datetime.fromisoformat(document["noted_until"])
            except (KeyError, TypeError, ValueError) as error:
                log.warning("scheduler.history_unreadable", error=str(error))

    def note(self, waiting: Iterable[WaitingJob]) -> None:
        """Count those that were submitted since."""
        fresh = [job for job in waiting if job.epoch == 0 and job.queued_at > self._noted_until]
        for job in sorted(fresh, key=lambda job: (job.queued_at, job.job_id)):
            self.history.note(job.resources)
            self._noted_until = job.queued_at
        self._unsaved += len(fresh)

    @property
    def is_worth_saving(self) -> bool:
        """Whether enough was learned since it was saved."""
        return self._unsaved >= _SAVE_AFTER

    def dump(self) -> str:
        """Return all of it as a text, from now on saved."""
        self._unsaved = 0
        return json.dumps(
            {"history": self.history.dump(), "noted_until": self._noted_until.isoformat()}, separators=(",", ":")
        )
