"""A queue and a room with the loop's part played: what is decided is carried out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar

from control_plane.fleet.placement.room import Claim, Host, Room
from control_plane.fleet.queueing.model import QueueDecision, QueueTerms, WaitingJob
from control_plane.fleet.queueing.queue import Queue
from control_plane.fleet.queueing.round import MOST_KEPT
from control_plane.model.ids import AllocationId, JobId, UserId
from control_plane.model.team import Team
from tests.control_plane.fleet.queueing.rooms import NOW, ListRoom


class World:
    """Carries decisions out: placed jobs hold what they got, those that make way stop until `stop_all`."""

    room_type: ClassVar[Callable[[Sequence[Host]], Room]] = ListRoom

    def __init__(
        self,
        hosts: Sequence[Host],
        teams: Sequence[Team] = (),
        terms: QueueTerms | None = None,
        *,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self.room = World.room_type(hosts)
        self.queue = Queue(terms or QueueTerms(), most_kept=most_kept)
        self.queue.see(hosts)
        self.teams = tuple(teams)
        self.user_limits: dict[UserId, int] = {}
        self.now = NOW
        self.jobs: dict[JobId, WaitingJob] = {}

    def submit(self, *jobs: WaitingJob) -> None:
        """Queue jobs, each a moment after the one before."""
        for job in jobs:
            known = self.jobs.get(job.job_id)
            queued_at = known.queued_at if known else job.queued_at + timedelta(microseconds=len(self.jobs))
            self.jobs[job.job_id] = replace(job, queued_at=queued_at)
            self.queue.put(self.jobs[job.job_id])

    def decide(self) -> QueueDecision:
        before = dict(self.room.claims())
        decision = self.queue.decide(self.room, self.teams, self.user_limits, now=self.now)
        assert dict(self.room.claims()) == before
        return decision

    def step(self) -> QueueDecision:
        """Decide once, and carry it out."""
        decision = self.decide()
        for placed in decision.placements:
            job = self.jobs[placed.job_id]
            assert placed.epoch == job.epoch + 1
            ends_by = self.now + timedelta(seconds=job.max_runtime_seconds) if job.max_runtime_seconds else None
            self.queue.drop(job.job_id)
            self.room.put(
                Claim(
                    AllocationId(f"a-{job.job_id}-{placed.epoch}"),
                    job.job_id,
                    job.user_id,
                    job.team,
                    job.priority,
                    job.resources,
                    placed.placements,
                    started_at=self.now,
                    ends_by=ends_by,
                    protected_until=self.now + timedelta(seconds=self.queue.terms.min_runtime_seconds),
                )
            )
        for one in decision.preemptions:
            claim = self.room.claims()[one.allocation_id]
            self.room.drop(one.allocation_id)
            self.room.put(replace(claim, stopping=True))
        return decision

    def stop_all(self) -> None:
        """Let everything end that was asked to stop, and queue it again."""
        for claim in [one for one in self.room.claims().values() if one.stopping]:
            self.end(claim.job_id)
            again = self.jobs[claim.job_id]
            self.submit(replace(again, epoch=again.epoch + 1))

    def end(self, name: str) -> None:
        """Let a job end."""
        for claim in [one for one in self.room.claims().values() if one.job_id == name]:
            self.room.drop(claim.allocation_id)

    def end_due(self) -> None:
        """Let everything end whose time is up."""
        for claim in [one for one in self.room.claims().values() if one.ends_by and one.ends_by <= self.now]:
            self.room.drop(claim.allocation_id)

    def wait(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    @property
    def running(self) -> list[str]:
        return [claim.job_id for claim in self.room.claims().values()]

    def placed(self) -> list[str]:
        """Decide and carry out, and return whom was placed."""
        return [one.job_id for one in self.step().placements]
