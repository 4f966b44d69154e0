"""One round of decisions: serves the queue in order until nothing more can start."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from control_plane.fleet.placement.room import Asked, Found, Room
from control_plane.fleet.queueing.backlog import NO_LIMIT, Backlog, Group, Shape, runtime_class
from control_plane.fleet.queueing.evict import Evictor
from control_plane.fleet.queueing.keep import Keeper, Kept, Known, tentative
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.model import Preemption, QueueTerms, WaitingJob
from control_plane.fleet.queueing.seats import Seats
from control_plane.fleet.queueing.teams import Parties, asked_amount
from control_plane.fleet.queueing.turns import Turns
from control_plane.fleet.queueing.unfit import Unfit
from control_plane.model.action import PlaceJob
from control_plane.model.ids import JobId, UserId

MOST_PLACEMENTS: Final = 1_000
"""Jobs placed by one decision."""

MOST_KEPT: Final = 8
"""Jobs that room is kept for, each of another shape."""

MOST_MAKING_WAY: Final = 64
"""Jobs that others make way for, by one decision."""

MOST_SEARCHES: Final = 16
"""Searches for who could make way, in one decision: each may look at all that run."""

MOST_VAIN_SEARCHES: Final = 8
"""Of these, such that found nobody."""

_PATIENCE: Final = 4  # groups passed over, for each job that room is kept for, before hopeless ones are set aside
_LEAST_PATIENCE: Final = 8


class Round:
    """Decides who starts now. What it places is in the room and in the books until `undo`.

    `promised` are the jobs that others make way for since earlier rounds, with who does; `known`, the room that was
    kept in earlier rounds. Both are what the next round is to be told when this one is over.
    """

    def __init__(
        self,
        room: Room,
        backlog: Backlog,
        ledger: Ledger,
        parties: Parties,
        seats: Seats,
        unfit: Unfit,
        terms: QueueTerms,
        user_limits: Mapping[UserId, int],
        now: datetime,
        *,
        most_kept: int,
        held_back: Mapping[JobId, str],
        promised: Mapping[JobId, Kept],
        known: Mapping[JobId, Known],
    ) -> None:
        self.placements: list[PlaceJob] = []
        self.preemptions: list[Preemption] = []
        self.idle = False  # nothing fitted, so that no order had to be found out, and what is known remains so
        self.promised: dict[JobId, Kept] = {}
        self.keeper = Keeper(room, ledger, now)
        self._room = room
        self._backlog = backlog
        self._ledger = ledger
        self._parties = parties
        self._seats = seats
        self._known_unfit = unfit
        self._terms = terms
        self._user_limits = user_limits
        self._now = now
        self._most_kept = most_kept
        self._held_back = held_back
        self._earlier = promised
        self._known = known
        self._evictor = Evictor(room, ledger, parties, self.keeper, terms, user_limits, now)
        self._unfit: set[Shape] = set()
        self._impossible: set[Shape] = set()
        self._tried_shapes: set[Shape] = set()  # room was looked for that could be kept for one of them
        self._refused: dict[Shape, int] = {}
        self._vain: set[tuple[Shape, int, str]] = set()
        self._searches = 0
        self._dealt_with: set[JobId] = set()
        self._in_line = False  # without backfill nobody starts before one that does not fit yet
        self._undo: list[Callable[[], None]] = []

    def run(self, *, in_full: bool = False) -> None:
        """Serve the queue; `in_full` also if nothing can come of it but to see what room is kept."""
        self._unfit = self._known_unfit.find(self._room)
        self._keep_promises()
        if not in_full and len(self._unfit) == len(self._backlog.shapes()) and not self._anybody_may_ask():
            self.idle = True
            return
        turns = Turns(self._seats, self._terms, self._parties, self._now)
        passed_over, patience, none_kept_more = 0, max(_LEAST_PATIENCE, _PATIENCE * self._most_kept), False
        while len(self.placements) < MOST_PLACEMENTS and not self._in_line and (best := turns.best()) is not None:
            job = self._backlog.jobs[best.job_id]
            if job.job_id in self._held_back or job.job_id in self._dealt_with:
                turns.advance()
                continue
            if self._serve(job, best.group):
                turns.advance()
                if none_kept_more and self._keeps_more():
                    # Who was promised something has taken room that was kept: others may have some kept now.
                    turns.keep(self._worth_turns())
                    none_kept_more = False
                continue
            turns.set_aside()
            passed_over += 1
            if passed_over >= patience:
                passed_over, patience = 0, patience * 2
                self._measure()
                turns.keep(self._worth_turns())
                none_kept_more = not self._keeps_more()

    def undo(self) -> None:
        """Take what was placed out of the room and out of the books again."""
        while self._undo:
            self._undo.pop()()

    def _serve(self, job: WaitingJob, group: Group) -> bool:
        """Place the job, or let others make way for it, and return True; else nothing of its group can start."""
        asked = group.shape.asked(job)
        if self._parties.over_limit(job, self._user_limits) is not None:
            return self._make_way(job, asked, group)
        if group.shape not in self._unfit:
            found = self._room.find(asked)
            if found is not None:
                return self._start(job, asked, found, group.shape)
            self._unfit.add(group.shape)
        if group.shape in self._impossible or not self._room.could_ever(asked):
            self._impossible.add(group.shape)
            return False
        self._in_line = not self._terms.backfill
        if self._make_way(job, asked, group):
            return True
        self._keep_room(job, asked, group.shape)
        return False

    def _start(self, job: WaitingJob, asked: Asked, found: Found, shape: Shape) -> bool:
        """Place the job unless that delays one that room is kept for."""
        runtime = job.max_runtime_seconds
        refused = self._refused.get(shape)
        if refused is not None and (runtime == 0 or runtime >= refused > 0):
            return False
        allowed = self.keeper.allow(job, asked, found) if self.keeper.kept else found
        if allowed is None:
            self._refused[shape] = min(runtime, refused) if refused and runtime else runtime or refused or 0
            return False
        self._place(job, allowed)
        return True

    def _place(self, job: WaitingJob, found: Found) -> None:
        claim = tentative(job, found, self._now)
        self._room.put(claim)
        self._ledger.add(claim)
        self._undo.append(lambda: self._ledger.remove(claim))
        self._undo.append(lambda: self._room.drop(claim.allocation_id))
        self._dealt_with.add(job.job_id)
        self.placements.append(PlaceJob(job.job_id, job.epoch + 1, found.gpu_type, found.placements, found.reason))

    def _make_way(self, job: WaitingJob, asked: Asked, group: Group) -> bool:
        """Let the job have what is stopping already, or else ask others to make way; return whether that helps."""
        key = (group.shape, job.priority, job.team)
        if key in self._vain or len(self.promised) >= MOST_MAKING_WAY:
            return False
        kept = self._evictor.waits_for_stopping(job, asked)
        if (
            kept is None
            and self._evictor.may_ask(job.team, job.priority, job.resources)
            and self._searches < MOST_SEARCHES
            and len(self._vain) < MOST_VAIN_SEARCHES
        ):
            self._searches += 1
            kept = self._evictor.make_way(job, asked)
            if kept is None:
                self._vain.add(key)
        if kept is None:
            return False
        self.preemptions += self._evictor.preemptions(kept)
        self._promise(kept)
        return True

    def _promise(self, kept: Kept) -> None:
        self._in_line = not self._terms.backfill
        job, amount = kept.job, asked_amount(kept.job.resources)
        self._parties.charge(job.team, job.user_id, amount)
        self._undo.append(lambda: self._parties.charge(job.team, job.user_id, amount, -1))
        self._dealt_with.add(job.job_id)
        self.promised[job.job_id] = kept
        overtaken = [one for one in self.keeper.kept if not one.soon and one.hosts & kept.hosts]
        self.keeper.kept[:] = [one for one in self.keeper.kept if one not in overtaken]
        self.keeper.kept.append(kept)
        for one in overtaken:  # what it had kept is used now; it is given the next that it can get
            again = self.keeper.expect(one.job, one.asked, None)
            if again is not None:
                self.keeper.kept.append(again)

    def _keep_promises(self) -> None:
        """Place those that others have made way for, before anybody else can; the others go on waiting for them."""
        ready: list[Kept] = []
        for earlier in self._earlier.values():
            job = self._backlog.jobs.get(earlier.job.job_id)
            left = tuple(self._ledger.claims[key] for key in earlier.leaving if key in self._ledger.claims)
            if job is None or job.waits_for or job.job_id in self._held_back or not all(one.stopping for one in left):
                continue
            kept = replace(earlier, job=job)
            if not left:
                ready.append(kept)
                continue
            again = self.keeper.renew(kept, left) if self._evictor.within_limits(job) else None
            if again is not None:
                self._promise(again)
        for kept in ready:
            if self._parties.over_limit(kept.job, self._user_limits) is None:
                found = self._room.find(kept.asked)
                allowed = None if found is None else self.keeper.allow(kept.job, kept.asked, found)
                if allowed is not None:
                    self._place(kept.job, allowed)

    def _keep_room(self, job: WaitingJob, asked: Asked, shape: Shape) -> None:
        """Keep room for the job if it is the first of its shape, so that nothing that starts before delays it."""
        if shape in self._tried_shapes or not self._keeps_more():
            return
        self._tried_shapes.add(shape)
        found = self.keeper.expect(job, asked, self._known.get(job.job_id))
        if found is not None and (found.at is not None or self._count_kept() == 0):
            self.keeper.kept.append(found)

    def _keeps_more(self) -> bool:
        return self._count_kept() < self._most_kept

    def _count_kept(self) -> int:
        """Return for how many jobs room is kept; those that somebody makes way for do not count."""
        return sum(not one.soon for one in self.keeper.kept)

    def _measure(self) -> None:
        """Find out which shapes do not fit, so that their jobs need not be asked for one by one."""
        for shape in self._backlog.shapes():
            if shape not in self._unfit and not self._known_unfit.fits(shape):
                self._unfit.add(shape)

    def _anybody_may_ask(self) -> bool:
        """Return whether somebody might have to make way for a job that waits, or is doing so."""
        highest, lowest = self._backlog.highest_priority(), self._ledger.lowest_priority()
        if self._ledger.stopping:
            return True
        if not self._terms.preemption or highest is None or lowest is None:
            return False
        return highest > lowest or self._parties.root.guaranteed_milli > 0

    def _worth_turns(self) -> Iterator[Group]:
        """Yield the groups that might still start, be made way for, or have room kept for them."""
        keeps_more = self._keeps_more()
        asking = len(self._vain) < MOST_VAIN_SEARCHES and self._anybody_may_ask()
        for shape in self._backlog.shapes():
            if asking or shape not in self._unfit or (keeps_more and shape not in self._tried_shapes):
                yield from filter(self._worth_a_turn, shape.groups)

    def _worth_a_turn(self, group: Group) -> bool:
        """Return whether a group might still start, be made way for, or have room kept for it."""
        shape = group.shape
        if shape in self._impossible:
            return False
        if shape not in self._unfit:
            refused = self._refused.get(shape)
            return refused is None or 0 < group.runtime_class < (runtime_class(refused) or NO_LIMIT)
        if shape not in self._tried_shapes and self._keeps_more():
            return True
        if len(self._vain) >= MOST_VAIN_SEARCHES or (shape, group.priority, group.team) in self._vain:
            return False
        return self._evictor.may_ask(group.team, group.priority, shape.resources)
