"""Where every job that waits stands, and why: told from a round of decisions that is tried and undone."""

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime

from control_plane.fleet.placement.room import Claim, Host, Room
from control_plane.fleet.queueing.backlog import Backlog, Group
from control_plane.fleet.queueing.explain import (
    Explanation,
    why_making_way,
    why_never,
    why_not_now,
    why_over_limit,
    why_reserved,
)
from control_plane.fleet.queueing.free import Free
from control_plane.fleet.queueing.keep import Kept
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.model import QueueTerms, Standing, WaitingJob, WaitReason
from control_plane.fleet.queueing.round import Round
from control_plane.fleet.queueing.teams import Parties, Party, asked_amount, within
from control_plane.fleet.queueing.turns import Turns
from control_plane.fleet.queueing.words import names
from control_plane.model.ids import JobId, UserId

_STARTS = Explanation(WaitReason.CAPACITY, "nothing: it starts with the next decision")


def serving_order(
    backlog: Backlog, parties: Parties, terms: QueueTerms, now: datetime, first: Sequence[JobId]
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
        turns, promised = Turns(backlog.lanes(), terms, parties, now), set(first)
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
        self._known: dict[object, Explanation] = {}
        self._free: Free | None = None

    def standing(self, job: WaitingJob, group: Group | None, position: int) -> Standing:
        """Return where a job stands."""
        kept = self._kept_for.get(job.job_id)
        why = self._explain(job, group, kept)
        at = kept.at if kept is not None and why.reason is not WaitReason.UNSATISFIABLE else None
        at = self._now if job.job_id in self._starting else at
        return Standing(job.job_id, position, why.reason, why.waits_for, why.would_help, at)

    def _explain(self, job: WaitingJob, group: Group | None, kept: Kept | None) -> Explanation:
        if job.waits_for:
            return Explanation(
                WaitReason.DEPENDENCIES, f"waits for {names([str(one) for one in job.waits_for])} to succeed"
            )
        if job.job_id in self._held_back:
            return Explanation(WaitReason.REFUSED, self._held_back[job.job_id])
        if job.job_id in self._starting:
            return _STARTS
        if kept is not None and kept.soon:
            return why_making_way(kept)
        key: object = (group, kept.job.job_id if kept is not None else None)
        if group is None or key not in self._known:
            self._known[key] = self._look(job, kept)
        return self._known[key]

    def _look(self, job: WaitingJob, kept: Kept | None) -> Explanation:
        shape = self._backlog.shape_of(job)
        asked = shape.asked(job)
        free = self._free = self._free or Free(self._hosts, self._ledger.on_node)
        whose = self._parties.over_limit(job, self._user_limits)
        if not self._room.could_ever(asked):
            return why_never(self._room, asked, free)
        if whose is not None:
            held = self._held_within(whose)
            return why_over_limit(job, whose, self._parties, self._user_limits, held, self._now)
        if self._room.find(asked) is None:
            return why_not_now(self._room, asked, free, kept or self._kept_of_shape(job), self._now)
        return why_reserved(job, self._kept, self._now) if self._kept else _STARTS

    def _kept_of_shape(self, job: WaitingJob) -> Kept | None:
        return next((one for one in self._kept if one.job.resources == job.resources and not one.soon), None)

    def _held_within(self, whose: Party | UserId) -> list[Claim]:
        if isinstance(whose, Party):
            found = [one for one in self._ledger.claims.values() if within(one.team, whose.name)]
        else:
            found = [one for one in self._ledger.claims.values() if one.user_id == whose]
        known = [one for one in found if one.ends_by is not None]
        return sorted(known, key=lambda one: (one.ends_by or self._now, one.allocation_id))
