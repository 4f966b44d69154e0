"""Whose turn it is: priority with age, then fair shares at every level of the teams, then users, then time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from control_plane.fleet.queueing.backlog import Group, Lane, LaneKey
from control_plane.fleet.queueing.model import QueueOrder, QueueTerms
from control_plane.fleet.queueing.seats import Seat, Seats, TurnKey, level_of, turn_key
from control_plane.fleet.queueing.teams import Parties, Party
from control_plane.model.ids import JobId


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
    """Those of one party who wait, best first: the teams in it, or the jobs of its users."""

    __slots__ = ("depth", "heap", "party", "unordered")

    def __init__(self, party: Party, depth: int) -> None:
        self.party = party
        self.depth = depth
        self.unordered = False
        self.heap: list[tuple[TurnKey, int, _Branch | Cursor | Lane]] = []


class Turns:
    """Serves groups in order, changing nothing but its own cursors. Jobs may not come or go meanwhile.

    The caller takes `best`, and then calls `advance` if that job is dealt with, after charging its team if it was
    placed, or `set_aside` if nothing more of its group can be served. Since `seats` were brought up to date, shares may
    only have grown, and while turns are taken only that of the best. So a key may be too small, but only that of a job
    whose user has been served; it is put right when it is the smallest.
    """

    def __init__(self, seats: Seats, terms: QueueTerms, parties: Parties, now: datetime) -> None:
        self._terms = terms
        self._parties = parties
        self._now = now.timestamp()
        self._fifo = terms.order is QueueOrder.FIFO
        self._seated: dict[int, Mapping[str, Sequence[Seat]]] = dict(seats.levels)
        self._levels: dict[int, list[Cursor]] = {}
        self._tree: _Branch | None = None
        self._path: list[_Branch] = []
        self._level = 0
        self._numbers = count(1)
        self._begun: dict[Group, Cursor | None] = {}  # groups that had a turn; None if no more of them can be served

    def best(self) -> Cursor | None:
        """Return the cursor whose job is next, or None when all are dealt with."""
        while self._tree is None or not self._tree.heap:
            levels = self._seated.keys() | self._levels.keys()
            if not levels:
                return None
            self._level = max(levels)
            self._tree = self._grow(self._seated.pop(self._level, {}), self._levels.pop(self._level, []))
        self._path = [self._tree]
        while isinstance(top := self._path[-1].heap[0][2], _Branch):
            self._path.append(top)
        if isinstance(top, Lane):
            key, number, _ = self._path[-1].heap[0]
            top = Cursor(top.firsts[0][2], walk=_Walk(top))
            self._path[-1].heap[0] = key, number, top
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
            top = self._path[-1].heap
            heapreplace(top, (self._leaf_key(cursor), top[0][1], cursor))
            self._reorder()
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
        self._seated.clear()
        self._tree = None
        lanes: dict[LaneKey, Lane] = {}
        for group in groups:
            if group not in self._begun:
                key = group.team, group.user_id, group.priority
                lane = lanes.get(key) or lanes.setdefault(key, Lane(*key))
                lane.firsts.append((*group.ages[0], group))
            elif (cursor := self._begun[group]) is not None:
                self._levels.setdefault(self._level_of(cursor), []).append(cursor)
        for lane in lanes.values():
            lane.firsts.sort()
            first = Cursor(lane.firsts[0][2], walk=_Walk(lane))
            self._levels.setdefault(self._level_of(first), []).append(first)

    def _level_of(self, cursor: Cursor) -> int:
        return level_of(self._terms, self._now, cursor.group.priority, cursor.queued_at)

    def _walk_on(self, cursor: Cursor) -> None:
        """Look at the next group of the lane that the best cursor is of, now that it is the turn of that one."""
        walk, cursor.walk = cursor.walk, None
        if walk is None:
            return
        walk.at += 1
        if walk.at == len(walk.lane.firsts):
            return
        following = Cursor(walk.lane.firsts[walk.at][2], walk=walk)
        if self._level_of(following) == self._level:
            # Not smaller than the top: older jobs of the lane went before, and the share is the same.
            heappush(self._path[-1].heap, (self._leaf_key(following), next(self._numbers), following))
        else:
            self._levels.setdefault(self._level_of(following), []).append(following)

    def _top(self) -> Cursor:
        top = self._path[-1].heap[0][2]
        assert isinstance(top, Cursor)
        return top

    def _grow(self, seated: Mapping[str, Sequence[Seat]], cursors: Sequence[Cursor]) -> _Branch:
        """Make the tree of parties with all who wait in it, and order every branch of it."""
        root = _Branch(self._parties.root, 0)
        branches: dict[int, _Branch] = {id(root.party): root}
        for team, seats in seated.items():
            self._leaves_of(team, root, branches).heap.extend(seats)  # sorted: a heap as it is
        for cursor in cursors:
            branch = self._leaves_of(cursor.group.team, root, branches)
            branch.heap.append((self._leaf_key(cursor), next(self._numbers), cursor))
            branch.unordered = True
        for branch in sorted(branches.values(), key=lambda one: -one.depth):  # a branch is compared by its best
            if branch.unordered:
                heapify(branch.heap)
            self._put_right(branch)
            if branch is not root:
                assert branch.party.parent is not None
                outer = branches[id(branch.party.parent)]
                outer.heap.append((self._key(branch), next(self._numbers), branch))
                outer.unordered = True
        return root

    def _leaves_of(self, team: str, root: _Branch, branches: dict[int, _Branch]) -> _Branch:
        """Return the branch in which the jobs of a team's users are."""
        return root if self._fifo else self._branch(self._parties.own(team), branches)

    def _branch(self, party: Party, branches: dict[int, _Branch]) -> _Branch:
        found = branches.get(id(party))
        if found is None:
            assert party.parent is not None  # that of everybody is there from the beginning
            found = branches[id(party)] = _Branch(party, self._branch(party.parent, branches).depth + 1)
        return found

    def _leaf_key(self, item: Cursor | Lane) -> TurnKey:
        group = item.group if isinstance(item, Cursor) else item
        queued_at, job_id = item.group.ages[item.at] if isinstance(item, Cursor) else item.firsts[0][:2]
        if self._fifo:
            return (True, 0.0, queued_at, job_id)
        return turn_key(self._parties, self._parties.user(group.team, group.user_id), queued_at, job_id)

    def _key(self, branch: _Branch) -> TurnKey:
        best = branch.heap[0][0]
        return turn_key(self._parties, branch.party, best[2], best[3])

    def _put_right(self, branch: _Branch) -> None:
        """Give the job that seems to be the best its key as things are now, until it is the best."""
        heap = branch.heap
        while heap and not isinstance(item := heap[0][2], _Branch):
            key, number, _ = heap[0]
            if (now := self._leaf_key(item)) == key:
                return
            heapreplace(heap, (now, number, item))

    def _leave(self) -> None:
        """Take the best cursor out, and every branch that is empty without it."""
        path = self._path
        heappop(path[-1].heap)
        while len(path) > 1 and not path[-1].heap:
            path.pop()
            heappop(path[-1].heap)
        self._reorder()

    def _reorder(self) -> None:
        """Compare the branches on the way to the best cursor anew: what they hold or offer has changed."""
        self._put_right(self._path[-1])
        for outer, inner in zip(reversed(self._path[:-1]), reversed(self._path[1:]), strict=True):
            _, number, _ = outer.heap[0]
            heapreplace(outer.heap, (self._key(inner), number, inner))
