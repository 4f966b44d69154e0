"""Whose turn it is: priority with age, then fair shares at every level of the teams, then users, then time."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from control_plane.fleet.queueing.backlog import Group, Lane
from control_plane.fleet.queueing.model import QueueOrder, QueueTerms
from control_plane.fleet.queueing.teams import Parties, Party
from control_plane.model.ids import JobId
from control_plane.model.job import JobPriority

_Key = tuple[bool, float, float, JobId]


@dataclass(eq=False, slots=True)
class _Walk:
    """How far a lane has been walked. Of a lane, one group is compared with others until it is that one's turn."""

    lane: Lane
    at: int = 0


@dataclass(eq=False, slots=True)
class Cursor:
    """How far a group has been served in this round; `walk` is the lane whose next group is not looked at yet."""

    group: Group
    at: int = 0
    walk: _Walk | None = None

    @property
    def job_id(self) -> JobId:
        """The job whose turn it would be."""
        return self.group.ages[self.at][1]

    @property
    def queued_at(self) -> float:
        """Since when that job waits, in seconds of the epoch."""
        return self.group.ages[self.at][0]


class _Branch:
    """The cursors of one party and of everybody in it, best first."""

    __slots__ = ("depth", "heap", "party")

    def __init__(self, party: Party, depth: int) -> None:
        self.party = party
        self.depth = depth
        self.heap: list[tuple[_Key, int, _Branch | Cursor | _Walk]] = []


class Turns:
    """Serves groups in order, changing nothing but its own cursors. Jobs may not come or go meanwhile.

    The caller takes `best`, and then calls `advance` if that job is dealt with, after charging its team if it was
    placed, or `set_aside` if nothing more of its group can be served. Shares may change in no other way meanwhile.
    """

    def __init__(self, lanes: Iterable[Lane], terms: QueueTerms, parties: Parties, now: datetime) -> None:
        self._terms = terms
        self._parties = parties
        self._now = now.timestamp()
        self._levels: dict[int, list[Cursor | _Walk]] = {}
        self._tree: _Branch | None = None
        self._path: list[_Branch] = []
        self._level = 0
        self._numbers = count()
        self._begun: dict[Group, Cursor | None] = {}  # groups that had a turn; None if no more of them can be served
        for lane in lanes:
            level = self.level_of(lane.priority, lane.firsts[0][0])
            self._levels.setdefault(level, []).append(_Walk(lane))

    def best(self) -> Cursor | None:
        """Return the cursor whose job is next, or None when all are dealt with."""
        while self._tree is None or not self._tree.heap:
            if not self._levels:
                return None
            self._level = max(self._levels)
            self._tree = self._grow(self._levels.pop(self._level))
        self._path = [self._tree]
        while not isinstance(top := self._path[-1].heap[0][2], Cursor):
            self._path.append(top if isinstance(top, _Branch) else self._open(self._path[-1], top))
        return top

    def advance(self) -> None:
        """The job of the best cursor is dealt with: its group's next one waits for its turn."""
        cursor = self._top()
        self._walk_on(cursor)
        cursor.at += 1
        ended = cursor.at == len(cursor.group.ages)
        self._begun[cursor.group] = None if ended else cursor
        if ended:
            self._leave()
        elif self._level_of(cursor) == self._level:
            self._replace(cursor)
        else:
            self._leave()
            self._levels.setdefault(self._level_of(cursor), []).append(cursor)

    def set_aside(self) -> None:
        """Nothing more of the best cursor's group can be served in this round."""
        cursor = self._top()
        self._walk_on(cursor)
        self._begun[cursor.group] = None
        self._leave()

    def keep(self, groups: Iterable[Group]) -> None:
        """Set aside all other groups at once."""
        self._levels.clear()
        self._tree = None
        for group in groups:
            cursor = self._begun[group] if group in self._begun else Cursor(group)
            if cursor is not None:
                self._levels.setdefault(self._level_of(cursor), []).append(cursor)

    def level_of(self, priority: JobPriority, queued_at: float) -> int:
        """Return the priority with a step for each `aging_seconds` waited."""
        if self._terms.aging_seconds <= 0:
            return int(priority)
        return priority + int(max(0.0, self._now - queued_at) // self._terms.aging_seconds)

    def _level_of(self, cursor: Cursor) -> int:
        return self.level_of(cursor.group.priority, cursor.queued_at)

    def _walk_on(self, cursor: Cursor) -> None:
        """Look at the next group of the lane that the best cursor is of, now that it is the turn of that one."""
        walk, cursor.walk = cursor.walk, None
        if walk is None:
            return
        walk.at += 1
        if walk.at == len(walk.lane.firsts):
            return
        level = self.level_of(walk.lane.priority, walk.lane.firsts[walk.at][0])
        if level == self._level:
            following = Cursor(walk.lane.firsts[walk.at][2], walk=walk)
            heappush(self._path[-1].heap, self._entry(following))
        else:
            self._levels.setdefault(level, []).append(walk)

    def _top(self) -> Cursor:
        top = self._path[-1].heap[0][2]
        assert isinstance(top, Cursor)
        return top

    def _grow(self, items: list[Cursor | _Walk]) -> _Branch:
        """Hang cursors into the tree of parties, and order every branch of it."""
        root = _Branch(self._parties.root, 0)
        branches: dict[int, _Branch] = {id(root.party): root}
        alone: dict[int, tuple[Party, _Walk]] = {}  # users with one lane: there may be thousands
        fifo = self._terms.order is QueueOrder.FIFO
        for item in items:
            branch = root
            if not fifo:
                owner = item.lane if isinstance(item, _Walk) else item.group
                party = self._parties.user(owner.team, owner.user_id)
                if isinstance(item, _Walk) and id(party) not in branches and id(party) not in alone:
                    alone[id(party)] = party, item
                    continue
                branch = branches.get(id(party)) or self._branch(party, branches)
                if (other := alone.pop(id(party), None)) is not None:
                    branch.heap.append(self._entry(_first(other[1])))
            branch.heap.append(self._entry(item if isinstance(item, Cursor) else _first(item)))
        for party, walk in alone.values():
            assert party.parent is not None
            outer = branches.get(id(party.parent)) or self._branch(party.parent, branches)
            outer.heap.append((self._party_key(party, *walk.lane.firsts[walk.at][:2]), next(self._numbers), walk))
        inwards = sorted(branches.values(), key=lambda one: -one.depth)
        for branch in inwards:  # the innermost first: a branch is compared by its best
            if len(branch.heap) > 1:
                heapify(branch.heap)
            if branch is not root:
                assert branch.party.parent is not None
                outer = branches[id(branch.party.parent)]
                outer.heap.append((self._key(branch), next(self._numbers), branch))
        return root

    def _branch(self, party: Party, branches: dict[int, _Branch]) -> _Branch:
        assert party.parent is not None  # that of everybody is there from the beginning
        outer = branches.get(id(party.parent)) or self._branch(party.parent, branches)
        found = branches[id(party)] = _Branch(party, outer.depth + 1)
        return found

    def _open(self, outer: _Branch, walk: _Walk) -> _Branch:
        """Put a branch in the place of the lane of a user who has but one, now that it is that user's turn."""
        key, number, _ = outer.heap[0]
        branch = _Branch(self._parties.user(walk.lane.team, walk.lane.user_id), outer.depth + 1)
        branch.heap.append(self._entry(_first(walk)))
        outer.heap[0] = (key, number, branch)
        return branch

    def _entry(self, cursor: Cursor) -> tuple[_Key, int, Cursor]:
        return _age_key(cursor), next(self._numbers), cursor

    def _key(self, branch: _Branch) -> _Key:
        best = branch.heap[0][0]
        return self._party_key(branch.party, best[2], best[3])

    def _party_key(self, party: Party, queued_at: float, job_id: JobId) -> _Key:
        return (not party.below_guarantee, self._parties.share(party), queued_at, job_id)

    def _leave(self) -> None:
        """Take the best cursor out, and every branch that is empty without it."""
        path = self._path
        heappop(path[-1].heap)
        while len(path) > 1 and not path[-1].heap:
            path.pop()
            heappop(path[-1].heap)
        self._reorder()

    def _replace(self, cursor: Cursor) -> None:
        top = self._path[-1].heap
        heapreplace(top, (_age_key(cursor), top[0][1], cursor))
        self._reorder()

    def _reorder(self) -> None:
        """Compare the branches on the way to the best cursor anew: what they hold or offer has changed."""
        for outer, inner in zip(reversed(self._path[:-1]), reversed(self._path[1:]), strict=True):
            _, number, _ = outer.heap[0]
            heappop(outer.heap)
            heappush(outer.heap, (self._key(inner), number, inner))


def _age_key(cursor: Cursor) -> _Key:
    return (True, 0.0, *cursor.group.ages[cursor.at])


def _first(walk: _Walk) -> Cursor:
    return Cursor(walk.lane.firsts[walk.at][2], walk=walk)
