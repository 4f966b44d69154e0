"""Whose turn it may be at the beginning of a round: the lanes that wait, sorted, kept up to date by what changed."""

from bisect import bisect_left, insort
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Final, TypeAlias

from control_plane.fleet.queueing.backlog import Backlog, Lane, LaneKey
from control_plane.fleet.queueing.model import QueueOrder, QueueTerms
from control_plane.fleet.queueing.teams import Amount, Parties, Party
from control_plane.model.ids import JobId
from control_plane.model.job import JobPriority

TurnKey: TypeAlias = tuple[bool, float, float, JobId]
"""The smaller goes first: at its guarantee already, the share, since when its first job waits, the job's id."""

Seat: TypeAlias = tuple[TurnKey, int, Lane]
"""A lane with its key. Keys differ, so that the number and the lane are never compared."""

_EARLY_SECONDS: Final = 0.001  # ages are looked at so much before they count more: floats are not exact
_MOST_STALE: Final = 1_000  # rises that no longer hold, beyond one for each seat


@dataclass(frozen=True, slots=True)
class _Sitting:
    """Where a lane sits, and when it rises to the next level."""

    level: int
    team: str
    seat: Seat
    rises_at: float


class Seats:
    """The lanes by level and team, each list sorted by key. In first-in-first-out order all are in one list of a level.

    The lists are not to be changed; a sorted list is a heap, so that a copy can be taken turns from.
    """

    def __init__(self, backlog: Backlog) -> None:
        self.levels: dict[int, dict[str, list[Seat]]] = {}
        self._backlog = backlog
        self._sitting: dict[LaneKey, _Sitting] = {}
        self._rises: list[tuple[float, LaneKey]] = []
        self._parties: Parties | None = None
        self._fleet = Amount()
        self._terms = QueueTerms()
        self._now = 0.0

    def follow(self, terms: QueueTerms, parties: Parties, now: datetime) -> None:
        """Bring the seats up to date: with the lanes that changed, those whose users hold otherwise, and with time."""
        at = now.timestamp()
        changed, charged = self._backlog.changed_lanes(), parties.charged_users()
        rules = terms.order, terms.aging_seconds
        anew = (
            parties is not self._parties
            or parties.fleet != self._fleet
            or rules != (self._terms.order, self._terms.aging_seconds)
            or at < self._now
        )
        self._parties, self._fleet, self._terms, self._now = parties, parties.fleet, terms, at
        if anew:
            self.levels.clear()
            self._sitting.clear()
            self._rises.clear()
            changed.update(lane.key for lane in self._backlog.lanes())
        else:
            for user in charged:
                changed.update((*user, priority) for priority in JobPriority)
            while self._rises and self._rises[0][0] <= at:
                changed.add(heappop(self._rises)[1])
        for key in changed:
            self._leave(key)
        for key in changed:  # all have left: a job that is in another lane now would be there twice
            lane = self._backlog.lane(key)
            if lane is not None:
                self._sit(lane, parties)
        if len(self._rises) > 2 * len(self._sitting) + _MOST_STALE:
            self._rises = [(one.rises_at, key) for key, one in self._sitting.items() if one.rises_at]
            heapify(self._rises)

    def _sit(self, lane: Lane, parties: Parties) -> None:
        queued_at, job_id = lane.firsts[0][:2]
        level = level_of(self._terms, self._now, lane.priority, queued_at)
        if self._terms.order is QueueOrder.FIFO:
            team, key = "", (True, 0.0, queued_at, job_id)
        else:
            team, key = lane.team, turn_key(parties, parties.user(lane.team, lane.user_id), queued_at, job_id)
        seat, rises_at = (key, 0, lane), 0.0
        insort(self.levels.setdefault(level, {}).setdefault(team, []), seat)
        if self._terms.aging_seconds > 0:
            rises_at = queued_at + (level - lane.priority + 1) * self._terms.aging_seconds - _EARLY_SECONDS
            heappush(self._rises, (rises_at, lane.key))
        self._sitting[lane.key] = _Sitting(level, team, seat, rises_at)

    def _leave(self, key: LaneKey) -> None:
        sitting = self._sitting.pop(key, None)
        if sitting is None:
            return
        teams = self.levels[sitting.level]
        seats = teams[sitting.team]
        del seats[bisect_left(seats, sitting.seat)]
        if not seats:
            del teams[sitting.team]
            if not teams:
                del self.levels[sitting.level]


def level_of(terms: QueueTerms, now: float, priority: JobPriority, queued_at: float) -> int:
    """Return the priority with a step for each `aging_seconds` waited; times are in seconds of the epoch."""
    if terms.aging_seconds <= 0:
        return int(priority)
    return priority + int(max(0.0, now - queued_at) // terms.aging_seconds)


def turn_key(parties: Parties, party: Party, queued_at: float, job_id: JobId) -> TurnKey:
    """Return by what a party is compared with those beside it, whose first job waits since then."""
    return (not party.below_guarantee, parties.share(party), queued_at, job_id)
