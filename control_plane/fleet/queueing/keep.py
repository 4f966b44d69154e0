"""Room kept for jobs that do not fit yet, so that what starts before them does not delay them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from operator import is_
from typing import Final

from control_plane.fleet.placement.packing.state import OverCommitError
from control_plane.fleet.placement.room import Asked, Claim, Found, Room
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.model import WaitingJob
from control_plane.fleet.queueing.search import Freed, freed, least_freed, nodes_of
from control_plane.model.ids import AllocationId, JobId, NodeId

SOON: Final = timedelta(seconds=60)
"""By when what is stopping is taken to be gone, and how much earlier than kept room is needed others must be done."""

MOST_ENDINGS: Final = 1_024
"""Claims whose ends are looked at one by one to tell when a job will fit."""

MOST_ON_HOSTS: Final = 4_096
"""Claims that are looked at host by host when those were too few."""

MOST_KNOWN: Final = 64
"""Jobs of which it is remembered where room was kept for them."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Room that is kept for a job: where it would go, what has to end first, and by when that is surely so.

    `at` is None if it cannot be told. `evicts` are those of `frees` that are asked to make way by this decision.
    """

    job: WaitingJob
    asked: Asked
    found: Found
    frees: tuple[Claim, ...]
    at: datetime | None
    evicts: tuple[Claim, ...] = ()
    soon: bool = False

    @property
    def hosts(self) -> frozenset[NodeId]:
        """The hosts that it keeps room on."""
        return nodes_of(self.found)

    @property
    def leaving(self) -> tuple[AllocationId, ...]:
        """Whose end it waits for."""
        return tuple(one.allocation_id for one in self.frees)


@dataclass(frozen=True, slots=True)
class Known:
    """Room as it was kept in an earlier round: since when, after which others on its hosts, and what was held there.

    `there` is None where the hosts themselves may have changed.
    """

    kept: Kept
    since: datetime
    before: tuple[Kept, ...]
    there: tuple[tuple[Claim, ...], ...] | None


def tentative(job: WaitingJob, found: Found, now: datetime) -> Claim:
    """Return the claim that a job will have if it starts now where it fits; its id is not that of an attempt."""
    ends_by = now + timedelta(seconds=job.max_runtime_seconds) if job.max_runtime_seconds else None
    return Claim(
        AllocationId(f"tentative-{job.job_id}"),
        job.job_id,
        job.user_id,
        job.team,
        job.priority,
        job.resources,
        found.placements,
        started_at=now,
        ends_by=ends_by,
    )


class Keeper:
    """Keeps room in one round of decisions; the room itself is as it was whenever a method has returned."""

    def __init__(self, room: Room, ledger: Ledger, now: datetime) -> None:
        self.kept: list[Kept] = []
        self._room = room
        self._ledger = ledger
        self._now = now

    @contextmanager
    def later(self, *, only_soon: bool = False) -> Iterator[frozenset[AllocationId]]:
        """Free what is stopping and what kept room waits for, and fill the room that is kept, inside the block only.

        Gives the ids of what is freed.
        """
        with ExitStack() as stack:
            away = set(self._ledger.stopping)
            stack.enter_context(self._room.without(sorted(away)))
            for one in self.kept:
                if one.soon or not only_soon:
                    self._fill(stack, one, away)
            yield frozenset(away)

    def renew(self, kept: Kept, left: tuple[Claim, ...]) -> Kept | None:
        """Return room that was promised, now that only these are left to make way; None if it is no longer there."""
        again = replace(kept, frees=left, at=self._now + SOON, evicts=(), soon=True)
        with self.later() as away, ExitStack() as stack:
            return again if self._fill(stack, again, set(away)) else None

    def known(self, earlier: Mapping[JobId, Known]) -> dict[JobId, Known]:
        """Return what the next round should know: what is kept now, and some of what was known `earlier`.

        Asked when what was placed in this round is out of the books again.
        """
        left = MOST_KNOWN - len(self.kept)
        found = dict(islice(earlier.items(), max(0, len(earlier) - left), None))
        for number, one in enumerate(self.kept):
            if not one.soon:
                key = one.job.job_id
                since = earlier[key].since if key in earlier else self._now
                before = _touching(self.kept[:number], one.hosts)
                found.pop(key, None)  # the newest come last
                found[key] = Known(one, since, before, self._ledger.held_on(one.hosts))
        return found

    def expect(self, job: WaitingJob, asked: Asked, known: Known | None) -> Kept | None:
        """Return the room to keep for a job that does not fit, at the earliest time at which it surely will.

        What is already `known` of it is used if it still holds. None if it would not fit even then.
        """
        if known is not None and self._is_as_it_was(job, known):
            return known.kept
        with self.later() as away:
            if known is not None:
                left = tuple(one for one in known.kept.frees if self._is_held(one) and one.allocation_id not in away)
                with freed(self._room, left):
                    found = self._room.find(asked)
                if found is not None:
                    return self._keep(job, asked, Freed(left, found))
            found = self._room.find(asked)
            if found is not None:
                return self._keep(job, asked, Freed((), found))
            ending = self._ledger.in_order_of_end(MOST_ENDINGS)
            enough = least_freed(self._room, asked, _not_in(ending, away), lambda _: self._room.find(asked))
            if enough is None and len(self._ledger.claims) > len(ending):
                order = _not_in(self._ledger.by_host_end(MOST_ON_HOSTS), away)
                enough = least_freed(self._room, asked, order, lambda _: self._room.find(asked))
            return None if enough is None else self._keep(job, asked, enough)

    def allow(self, job: WaitingJob, asked: Asked, found: Found) -> Found | None:
        """Return where a job may start now without delaying those that room is kept for, or None.

        It may if it surely ends early enough, is not on their hosts, or leaves enough there.
        """
        ends = self._now + timedelta(seconds=job.max_runtime_seconds) if job.max_runtime_seconds else None
        binding = [one for one in self.kept if ends is None or one.at is None or ends + SOON > one.at]
        hosts = nodes_of(found)
        if not any(one.hosts & hosts for one in binding):
            return found
        if self._leaves_enough(job, found, binding):
            return found
        kept_hosts = sorted({node for one in binding for node in one.hosts})
        resources = asked.resources
        elsewhere = replace(resources, exclude_nodes=(*resources.exclude_nodes, *kept_hosts))
        return self._room.find(replace(asked, resources=elsewhere))

    def _leaves_enough(self, job: WaitingJob, found: Found, binding: Sequence[Kept]) -> bool:
        """Start the job, let kept room be filled in turn, and see whether all still fit; if so, keep it there."""
        claim = tentative(job, found, self._now)
        moved: list[Kept] = []
        bound = {one.job.job_id for one in binding}
        self._room.put(claim)
        with ExitStack() as stack:
            stack.callback(self._room.drop, claim.allocation_id)
            away = set(self._ledger.stopping)
            stack.enter_context(self._room.without(sorted(away)))
            for one in self.kept:
                now = one
                if one.job.job_id in bound:
                    with freed(self._room, _not_in(one.frees, away)):
                        again = self._room.find(one.asked)
                    if again is None:
                        return False
                    now = replace(one, found=again)
                moved.append(now)
                if not self._fill(stack, now, away):
                    return False
        self.kept[:] = moved
        return True

    def _fill(self, stack: ExitStack, one: Kept, away: set[AllocationId]) -> bool:
        """Fill kept room until the stack is left; return whether it was free."""
        stack.enter_context(freed(self._room, gone := _not_in(one.frees, away)))
        away.update(claim.allocation_id for claim in gone)
        claim = tentative(one.job, one.found, self._now)
        try:
            self._room.put(claim)
        except OverCommitError:
            return False
        stack.callback(self._room.drop, claim.allocation_id)
        return True

    def _keep(self, job: WaitingJob, asked: Asked, enough: Freed) -> Kept:
        """Room kept by others on the same hosts may have to be free first, and so may what is stopping there."""
        hosts = nodes_of(enough.found)
        ends = [one.ends_by for one in enough.claims]
        ends += [other.at for other in self.kept if any(_is_on(hosts, one) for one in other.frees)]
        if any(_is_on(hosts, one) for one in self._ledger.stopping.values()):
            ends.append(self._now + SOON)
        known = [one for one in ends if one is not None]
        at = max([self._now, *known]) if len(known) == len(ends) else None
        return Kept(job, asked, enough.found, enough.claims, at)

    def _is_as_it_was(self, job: WaitingJob, known: Known) -> bool:
        """Return whether nothing has changed that room which was kept hangs on."""
        kept = known.kept
        if kept.job is not job or not kept.frees or (kept.at is not None and kept.at <= self._now):
            return False
        before = _touching(self.kept, kept.hosts)
        same = len(known.before) == len(before) and all(map(is_, known.before, before))
        return same and known.there == self._ledger.held_on(kept.hosts)

    def _is_held(self, claim: Claim) -> bool:
        return self._ledger.claims.get(claim.allocation_id) is claim


def _touching(kept: Iterable[Kept], hosts: frozenset[NodeId]) -> tuple[Kept, ...]:
    """Return those that keep room on these hosts, or wait for something there to end."""
    return tuple(
        one for one in kept if not one.hosts.isdisjoint(hosts) or any(_is_on(hosts, claim) for claim in one.frees)
    )


def _is_on(hosts: frozenset[NodeId], claim: Claim) -> bool:
    return not hosts.isdisjoint(part.node_id for part in claim.placements)


def _not_in(claims: Iterable[Claim], away: Iterable[AllocationId]) -> list[Claim]:
    return [one for one in claims if one.allocation_id not in away]
