"""Who has to make way for whom: only if the job then fits, as few as possible, and those who lose least."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from control_plane.fleet.placement.room import Asked, Claim, Found, Room
from control_plane.fleet.queueing.keep import SOON, Keeper, Kept
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.model import Preemption, QueueTerms, WaitingJob
from control_plane.fleet.queueing.search import Freed, least_freed, nodes_of
from control_plane.fleet.queueing.teams import Parties, Party, asked_gpu_milli
from control_plane.model.ids import AllocationId, NodeId, UserId
from control_plane.model.job import JobPriority, ResourceRequest

MOST_SINGLY: Final = 512
"""Attempts that are looked at one by one, the cheapest first, for those that might make way."""

MOST_ON_HOSTS: Final = 4_096
"""Attempts that are looked at host by host when those were too few."""


def work_lost(claim: Claim, now: datetime) -> float:
    """Return the GPU-seconds that an attempt would lose if it ended now."""
    return claim.gpus * max(0.0, (now - (claim.checkpointed_at or claim.started_at)).total_seconds())


@dataclass(frozen=True, slots=True)
class _Why:
    """Why attempts of one team and priority may have to make way for a job."""

    by_guarantee: Party | None
    chain: tuple[Party, ...]


class Evictor:
    """Finds who makes way, in one round of decisions."""

    def __init__(
        self,
        room: Room,
        ledger: Ledger,
        parties: Parties,
        keeper: Keeper,
        terms: QueueTerms,
        user_limits: Mapping[UserId, int],
        now: datetime,
    ) -> None:
        self._room = room
        self._ledger = ledger
        self._parties = parties
        self._keeper = keeper
        self._terms = terms
        self._user_limits = user_limits
        self._now = now
        self._sorted: dict[JobPriority, list[Claim]] = {}
        self._too_large: set[tuple[ResourceRequest, str]] = set()  # room only fills up in the course of a round

    def may_ask(self, team: str, priority: JobPriority, resources: ResourceRequest) -> bool:
        """Return whether anybody at all might have to make way for such a job."""
        lowest = self._ledger.lowest_priority()
        if not self._terms.preemption or lowest is None:
            return False
        if priority > lowest:
            return True
        if not self._parties.root.guaranteed_milli:
            return False
        return _entitled(resources, self._parties.team(team).chain()) is not None

    def waits_for_stopping(self, job: WaitingJob, asked: Asked) -> Kept | None:
        """Return the room to keep for a job that fits as soon as what is stopping has ended."""
        if not self._ledger.stopping and not any(one.soon for one in self._keeper.kept):
            return None
        size = (asked.resources, asked.team if asked.resources.anti_affinity else "")
        if size in self._too_large or not self.within_limits(job):
            return None
        with self._keeper.later():
            found = self._room.find(asked)
        if found is None:
            self._too_large.add(size)
            return None
        return self._kept(job, asked, Freed((), found))

    def within_limits(self, job: WaitingJob) -> bool:
        """Return whether limits let the job start once what is stopping has ended."""
        return self._parties.over_limit(job, self._user_limits, list(self._leaving().values())) is None

    def make_way(self, job: WaitingJob, asked: Asked) -> Kept | None:
        """Return the room that a job gets if others make way for it, and who they are; None if that cannot be.

        The room is changed while it is looked for, and is then as before.
        """
        leaving = self._leaving()
        whys: dict[tuple[str, JobPriority], _Why | None] = {}
        candidates = self._candidates(job, leaving, whys)
        if not candidates:
            return None
        orders = [candidates[:MOST_SINGLY]]
        if len(candidates) > MOST_SINGLY:
            orders.append(self._by_host(candidates))
        orders.append(self._sparing(candidates, leaving, whys)[:MOST_SINGLY])
        with self._keeper.later(only_soon=True):
            for order in orders:
                enough = least_freed(
                    self._room, asked, order, lambda freed: self._fits(job, asked, [*leaving.values(), *freed])
                )
                if enough is not None and len(self._sparing(enough.claims, leaving, whys)) == len(enough.claims):
                    return self._kept(job, asked, enough)
        return None

    def preemptions(self, kept: Kept) -> list[Preemption]:
        """Return what to propose so that the room which is kept becomes free."""
        leaving: dict[AllocationId, Claim] = {}
        made = []
        for claim in kept.evicts:
            why = self._why(kept.job, claim, leaving)
            made.append(Preemption(claim.allocation_id, claim.job_id, kept.job.job_id, _reason(kept.job, claim, why)))
        return made

    def _fits(self, job: WaitingJob, asked: Asked, gone: Sequence[Claim]) -> Found | None:
        if self._parties.over_limit(job, self._user_limits, gone) is not None:
            return None
        return self._room.find(asked)

    def _leaving(self) -> dict[AllocationId, Claim]:
        """Return what is stopping, or was asked to in this round."""
        gone = dict(self._ledger.stopping)
        for one in self._keeper.kept:
            gone.update((claim.allocation_id, claim) for claim in one.evicts)
        return gone

    def _kept(self, job: WaitingJob, asked: Asked, enough: Freed) -> Kept:
        hosts = nodes_of(enough.found)
        stopping = (
            one
            for one in self._ledger.stopping.values()
            if not hosts.isdisjoint(part.node_id for part in one.placements)
        )
        frees = (*stopping, *enough.claims)
        return Kept(job, asked, enough.found, frees, self._now + SOON, evicts=enough.claims, soon=True)

    def _candidates(
        self, job: WaitingJob, leaving: Mapping[AllocationId, Claim], whys: dict[tuple[str, JobPriority], _Why | None]
    ) -> list[Claim]:
        """Return who may have to make way: the lowest priority first, and then who loses least."""
        found = []
        for priority in JobPriority:  # from the lowest on
            if priority >= job.priority and not self._parties.root.guaranteed_milli:
                break
            for claim in self._cheapest_first(priority):
                key = (claim.team, claim.priority)
                if key not in whys:
                    whys[key] = self._why(job, claim, leaving)
                if whys[key] is not None and claim.allocation_id not in leaving:
                    found.append(claim)
        return found

    def _cheapest_first(self, priority: JobPriority) -> list[Claim]:
        """Return who may be asked of a priority, who loses least first; sorted once in a round."""
        found = self._sorted.get(priority)
        if found is None:
            exposed = self._ledger.exposed[priority].values()
            found = self._sorted[priority] = sorted(exposed, key=self._cost)
        return found

    def _cost(self, claim: Claim) -> tuple[int, float, AllocationId]:
        return claim.priority, work_lost(claim, self._now), claim.allocation_id

    def _by_host(self, candidates: Sequence[Claim]) -> list[Claim]:
        """Return candidates with all of a host together: a job that needs a whole host needs them together."""
        hosts: dict[NodeId, list[Claim]] = {}
        for claim in candidates:
            for part in claim.placements:
                hosts.setdefault(part.node_id, []).append(claim)
        costs = {
            node: (max(one.priority for one in here), sum(work_lost(one, self._now) for one in here))
            for node, here in hosts.items()
        }
        taken: dict[AllocationId, Claim] = {}
        for node in sorted(hosts, key=lambda one: (costs[one], one)):
            taken.update((one.allocation_id, one) for one in hosts[node])
            if len(taken) >= MOST_ON_HOSTS:
                break
        return list(taken.values())

    def _sparing(
        self,
        candidates: Iterable[Claim],
        leaving: Mapping[AllocationId, Claim],
        whys: Mapping[tuple[str, JobPriority], _Why | None],
    ) -> list[Claim]:
        """Return those of them, in order, of which none takes a team below its guarantee that borrows no more."""
        given = self._given(leaving.values())
        spared = []
        for claim in candidates:
            why = whys[claim.team, claim.priority]
            if why is None or not _borrows(why.chain, given):
                continue
            spared.append(claim)
            for party in self._parties.team(claim.team).chain():
                given[party] = given.get(party, 0) + round(1000 * claim.gpus)
        return spared

    def _given(self, leaving: Iterable[Claim]) -> dict[Party, int]:
        given: dict[Party, int] = {}
        for claim in leaving:
            for party in self._parties.team(claim.team).chain():
                given[party] = given.get(party, 0) + round(1000 * claim.gpus)
        return given

    def _why(self, job: WaitingJob, claim: Claim, leaving: Mapping[AllocationId, Claim]) -> _Why | None:
        """Return why an attempt may have to make way for the job, or None if it may not be asked to.

        What a team holds within its guarantee is safe from all other teams, whatever their priority: so nobody can
        take back for one reason what was taken from him for another.
        """
        asking, holding = list(self._parties.team(job.team).chain()), list(self._parties.team(claim.team).chain())
        while asking and holding and asking[-1] is holding[-1]:
            asking.pop()
            holding.pop()
        chain = tuple(holding)
        if not _borrows(chain, self._given(leaving.values())):
            return None
        entitled = _entitled(job.resources, asking)
        if entitled is None and job.priority <= claim.priority:
            return None
        return _Why(entitled, chain)


def _entitled(resources: ResourceRequest, chain: Iterable[Party]) -> Party | None:
    """Return the team whose guarantee covers what is asked for, if there is one."""
    wanted = asked_gpu_milli(resources)
    for party in chain:
        if wanted and party.gpu_milli + wanted <= party.guaranteed_milli:
            return party
    return None


def _borrows(chain: Iterable[Party], given: Mapping[Party, int]) -> bool:
    return all(party.gpu_milli - given.get(party, 0) > party.guaranteed_milli for party in chain)


def _reason(job: WaitingJob, claim: Claim, why: _Why | None) -> str:
    if job.priority > claim.priority:
        ranks = f"its priority is {job.priority.name.lower()}, that of this job {claim.priority.name.lower()}"
        return f"makes way for {job.job_id}: {ranks}"
    team = why.by_guarantee if why is not None else None
    if team is None:
        return f"makes way for {job.job_id}"
    entitled = (
        f"team {team.name} is entitled to {team.guaranteed_milli / 1000:g} GPUs and holds {team.gpu_milli / 1000:g}"
    )
    return f"makes way for {job.job_id}: {entitled}, and this job runs on GPUs that its team has borrowed"
