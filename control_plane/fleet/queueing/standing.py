"""Where every job that waits stands, and why: told from a round of decisions that is tried and undone."""

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime

from control_plane.fleet.placement.room import Host, Lack, Missing, Room
from control_plane.fleet.queueing.backlog import Backlog, Group, Shape
from control_plane.fleet.queueing.explain import (
    Explanation,
    why_after,
    why_in_line,
    why_making_way,
    why_no_room,
    why_reserved,
    why_starts,
)
from control_plane.fleet.queueing.explain_limits import why_over_limits
from control_plane.fleet.queueing.keep import Kept
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.model import QueueTerms, Standing, WaitingJob, WaitReason
from control_plane.fleet.queueing.round import MOST_PLACEMENTS, Round
from control_plane.fleet.queueing.seats import Seats
from control_plane.fleet.queueing.teams import Parties, asked_amount
from control_plane.fleet.queueing.turns import Turns
from control_plane.model.ids import JobId, NodeId, UserId


def serving_order(
    backlog: Backlog, seats: Seats, parties: Parties, terms: QueueTerms, now: datetime, first: Sequence[JobId]
) -> Generator[tuple[WaitingJob, Group | None], None, None]:
    """Yield all jobs in the order in which they would be served: `first` is promised room, dependants come last.

    Each is counted as held while the next is chosen, which is how turns come about; closing the iterator undoes that.
    """
    charged: list[WaitingJob] = []
    try:
        for job_id in first:
            job = backlog.jobs[job_id]
            parties.charge(job.team, job.user_id, asked_amount(job.resources))
            charged.append(job)
            yield job, None
        turns, promised = Turns(seats, terms, parties, now), set(first)
        while (best := turns.best()) is not None:
            job = backlog.jobs[best.job_id]
            if job.job_id not in promised:
                parties.charge(job.team, job.user_id, asked_amount(job.resources))
                charged.append(job)
                yield job, best.group
            turns.advance()
        dependants = [job for job in backlog.jobs.values() if job.waits_for]
        for job in sorted(dependants, key=lambda one: (-one.priority, one.queued_at, one.job_id)):
            yield job, None
    finally:
        for job in charged:
            parties.charge(job.team, job.user_id, asked_amount(job.resources), -1)


class Explainer:
    """Explains jobs while a round of decisions is in the room; jobs of one group are explained alike, once."""

    def __init__(
        self,
        round_: Round,
        room: Room,
        backlog: Backlog,
        ledger: Ledger,
        parties: Parties,
        hosts: Sequence[Host],
        user_limits: Mapping[UserId, int],
        held_back: Mapping[JobId, str],
        terms: QueueTerms,
        now: datetime,
    ) -> None:
        self._room = room
        self._backlog = backlog
        self._ledger = ledger
        self._parties = parties
        self._hosts = hosts
        self._user_limits = user_limits
        self._held_back = held_back
        self._now = now
        self._kept = round_.keeper.kept
        self._kept_for = {one.job.job_id: one for one in self._kept}
        self._starting = {one.job_id for one in round_.placements}
        self._backfill = terms.backfill
        self._known: dict[object, Explanation] = {}
        self._lacking: dict[Shape, Missing] = {}
        self._names: dict[NodeId, str] | None = None

    def standing(self, job: WaitingJob, group: Group | None, position: int) -> Standing:
        """Return where a job stands."""
        kept = self._kept_for.get(job.job_id)
        why = self._explain(job, group, kept)
        at = kept.at if kept is not None and why.reason is not WaitReason.UNSATISFIABLE else None
        at = self._now if job.job_id in self._starting else at
        return Standing(job.job_id, position, why.reason, why.waits_for, why.would_help, at)

    def _explain(self, job: WaitingJob, group: Group | None, kept: Kept | None) -> Explanation:
        if job.waits_for:
            return why_after(job.waits_for)
        if job.job_id in self._held_back:
            return Explanation(WaitReason.REFUSED, self._held_back[job.job_id])
        if job.job_id in self._starting:
            return why_starts()
        if kept is not None and kept.soon:
            return why_making_way(kept)
        key: object = (group, kept.job.job_id if kept is not None else None)
        if group is None or key not in self._known:
            self._known[key] = self._look(job, kept)
        return self._known[key]

    def _look(self, job: WaitingJob, kept: Kept | None) -> Explanation:
        whose = self._parties.limits_over(job, self._user_limits)
        missing = self._missing(job)
        if whose and missing.lack is not Lack.NEVER:
            claims = self._ledger.claims.values()
            return why_over_limits(job, whose, self._parties, self._user_limits, claims, missing, self._now)
        if missing.lack is not Lack.NOTHING:
            return why_no_room(missing, kept or self._kept_of_shape(job), self._host_names(), self._now)
        if not self._kept or len(self._starting) >= MOST_PLACEMENTS:
            return why_starts()
        return why_reserved(job, self._kept, self._now) if self._backfill else why_in_line(self._kept[0].job.job_id)

    def _missing(self, job: WaitingJob) -> Missing:
        """Return what a job lacks; jobs of one shape lack the same."""
        shape = self._backlog.shape_of(job)
        found = self._lacking.get(shape)
        if found is None:
            found = self._lacking[shape] = self._room.missing(shape.asked(job))
        return found

    def _host_names(self) -> Mapping[NodeId, str]:
        if self._names is None:
            self._names = {host.node_id: host.name for host in self._hosts}
        return self._names

    def _kept_of_shape(self, job: WaitingJob) -> Kept | None:
        return next((one for one in self._kept if one.job.resources == job.resources and not one.soon), None)
