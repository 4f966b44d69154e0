"""The queue: which jobs wait, and what to do now."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from control_plane.fleet.placement.room import Host, Room
from control_plane.fleet.queueing.backlog import Backlog
from control_plane.fleet.queueing.figures import TeamFigures, team_figures
from control_plane.fleet.queueing.keep import Kept, Known
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.model import QueueDecision, QueueTerms, Standing, WaitingJob
from control_plane.fleet.queueing.round import MOST_KEPT, Round
from control_plane.fleet.queueing.seats import Seats
from control_plane.fleet.queueing.standing import Explainer, serving_order
from control_plane.fleet.queueing.teams import Amount, Parties, fleet_amount
from control_plane.fleet.queueing.unfit import Unfit
from control_plane.model.ids import JobId, UserId
from control_plane.model.team import Team

_REFRESH: Final = timedelta(seconds=30)  # how long kept room is kept before an earlier time is looked for


class Queue:
    """The jobs that wait, and what was promised to them. Used by one thread at a time.

    The same calls in the same order give the same decisions. What is lost with it in a restart is who makes way for
    whom and where room is kept: both are decided again.
    """

    def __init__(self, terms: QueueTerms, *, most_kept: int = MOST_KEPT, refresh: timedelta = _REFRESH) -> None:
        """`most_kept` jobs have room kept for them; after `refresh`, an earlier time for them is looked for."""
        self.terms = terms
        self._most_kept = most_kept
        self._refresh = refresh
        self._backlog = Backlog()
        self._seats = Seats(self._backlog)
        self._unfit = Unfit(self._backlog)
        self._ledger = Ledger()
        self._fleet: tuple[Host, ...] = ()
        self._amount = Amount()
        self._teams: tuple[Team, ...] = ()
        self._parties: Parties | None = None
        self._promised: dict[JobId, Kept] = {}
        self._known: dict[JobId, Known] = {}

    def see(self, hosts: Sequence[Host]) -> None:
        """Take note of what the fleet is made of: shares are parts of that, and it is what waiting is explained by.

        Called at first and whenever a host comes, goes or changes. As long as it is not called, teams are compared by
        the GPUs that they hold alone.
        """
        self._fleet = tuple(hosts)
        self._known = {key: replace(one, there=None) for key, one in self._known.items()}
        amount = fleet_amount(hosts)
        if amount != self._amount:
            self._amount = amount
            if self._parties is not None:
                self._parties.fleet = amount

    def put(self, job: WaitingJob) -> None:
        """Take a job in, or take it as it is now."""
        self._backlog.put(job)

    def drop(self, job_id: JobId) -> None:
        """Forget a job that no longer waits; nothing happens if it is not there."""
        self._backlog.drop(job_id)
        self._promised.pop(job_id, None)
        self._known.pop(job_id, None)

    def jobs(self) -> Mapping[JobId, WaitingJob]:
        """Return the jobs that wait, in the order in which they were put."""
        return self._backlog.jobs

    def decide(
        self,
        room: Room,
        teams: Sequence[Team],
        user_limits: Mapping[UserId, int],
        *,
        now: datetime,
        held_back: Mapping[JobId, str] | None = None,
    ) -> QueueDecision:
        """Decide who starts now and who makes way: at most 1,000 placements, and 16 more jobs that others make way for.

        `user_limits` are the GPUs that a user may hold at most, `held_back` the jobs to pass over this time, with why.
        What it places is tried in the room, and taken out again before it returns: the caller puts the claims once the
        placements are agreed to, drops those jobs here, and puts the claims of those who make way again as `stopping`.
        It may decide again at once for what comes next.
        """
        round_ = self._round(room, teams, user_limits, now, held_back or {})
        try:
            round_.run()
        finally:
            round_.undo()
        self._promised = round_.promised
        if not round_.idle:
            self._known = round_.keeper.known(self._fresh(now))
        return QueueDecision(tuple(round_.placements), tuple(round_.preemptions))

    def standings(
        self,
        room: Room,
        teams: Sequence[Team],
        user_limits: Mapping[UserId, int],
        *,
        now: datetime,
        held_back: Mapping[JobId, str] | None = None,
        limit: int | None = None,
    ) -> tuple[Standing, ...]:
        """Return where the jobs stand that wait, in the order in which they are served; the first `limit` of them.

        Decides nothing, and leaves the room as it was. Jobs that wait for other jobs come last.
        """
        held = held_back or {}
        round_ = self._round(room, teams, user_limits, now, held)
        parties = self._follow(room, teams)
        with closing(
            serving_order(self._backlog, self._seats, parties, self.terms, now, list(self._promised))
        ) as order:
            listed = list(islice(order, limit))
        try:
            round_.run(in_full=True)
            explainer = Explainer(
                round_, room, self._backlog, self._ledger, parties, self._fleet, user_limits, held, self.terms, now
            )
            return tuple(explainer.standing(job, group, at) for at, (job, group) in enumerate(listed, start=1))
        finally:
            round_.undo()

    def quotas(self, room: Room, teams: Sequence[Team]) -> tuple[TeamFigures, ...]:
        """Return what every team holds, has borrowed and waits for, by path."""
        return team_figures(self._backlog, self._ledger, self._follow(room, teams), teams)

    def _round(
        self,
        room: Room,
        teams: Sequence[Team],
        user_limits: Mapping[UserId, int],
        now: datetime,
        held_back: Mapping[JobId, str],
    ) -> Round:
        parties = self._follow(room, teams)
        self._seats.follow(self.terms, parties, now)
        self._ledger.expose(now, self.terms.min_runtime_seconds)
        return Round(
            room,
            self._backlog,
            self._ledger,
            parties,
            self._seats,
            self._unfit,
            self.terms,
            user_limits,
            now,
            most_kept=self._most_kept,
            held_back=held_back,
            promised=self._promised,
            known=self._fresh(now),
        )

    def _fresh(self, now: datetime) -> dict[JobId, Known]:
        """Return what is known of kept room for which no earlier time is looked for yet."""
        return {key: one for key, one in self._known.items() if now < one.since + self._refresh}

    def _follow(self, room: Room, teams: Sequence[Team]) -> Parties:
        """Bring the books up to date."""
        if self._parties is None or self._teams != tuple(teams):
            self._teams = tuple(teams)
            self._parties = Parties(self._teams, self._amount)
        self._ledger.follow(room, self._parties)
        return self._parties
