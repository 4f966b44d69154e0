"""Whose turn it is: priority with age, then fair shares at every level of the teams, then users, then time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush, heapreplace

from control_plane.fleet.queueing.backlog import Group
from control_plane.fleet.queueing.model import QueueOrder, QueueTerms
from control_plane.fleet.queueing.teams import Parties, Party
from control_plane.model.ids import JobId
from control_plane.model.job import JobPriority

_Key = tuple[bool, float, float, JobId]


@dataclass(eq=False, slots=True)
class Cursor:
    """How far a group has been served in this round."""

    group: Group
    at: int = 0

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

    __slots__ = ("heap", "party")

    def __init__(self, party: Party) -> None:
        self.party = party
        self.heap: list[tuple[_Key, int, _Branch | Cursor]] = []


class Turns:
    """Serves groups in order, changing nothing but its own cursors.

    The caller takes `best`, and then calls `advance` if that job is dealt with, after charging its team if it was
    placed, or `set_aside` if nothing more of its group can be served. Shares may change in no other way meanwhile.
    """

    def __init__(self, groups: Iterable[Group], terms: QueueTerms, parties: Parties, now: datetime) -> None:
        self._terms = terms
        self._parties = parties
        self._now = now.timestamp()
        self._levels: dict[int, list[Cursor | Group]] = {}
        self._tree: _Branch | None = None
        self._path: list[_Branch] = []
        self._level = 0
        aging, levels = terms.aging_seconds, self._levels
        for group in groups:  # as level_of, written out: there may be tens of thousands
            waited = self._now - group.ages[0][0]
            level = int(group.priority) + (int(waited // aging) if waited > 0 and aging > 0 else 0)
            found = levels.get(level)
            if found is None:
                levels[level] = [group]
            else:
                found.append(group)

    def best(self) -> Cursor | None:
        """Return the cursor whose job is next, or None when all are dealt with."""
        while self._tree is None or not self._tree.heap:
            if not self._levels:
                return None
            self._level = max(self._levels)
            self._tree = self._grow(self._levels.pop(self._level))
        self._path = [self._tree]
        while isinstance(top := self._path[-1].heap[0][2], _Branch):
            self._path.append(top)
        return top

    def advance(self) -> None:
        """The job of the best cursor is dealt with: its group's next one waits for its turn."""
        cursor = self._top()
        cursor.at += 1
        if cursor.at == len(cursor.group.ages):
            self._leave()
        elif self._level_of(cursor) == self._level:
            self._replace(cursor)
        else:
            self._leave()
            self._add(cursor)

    def set_aside(self) -> None:
        """Nothing more of the best cursor's group can be served in this round."""
        self._leave()

    def keep(self, wanted: Callable[[Group], bool]) -> None:
        """Set aside all other groups at once."""
        for level, items in list(self._levels.items()):
            self._levels[level] = [one for one in items if wanted(one.group if isinstance(one, Cursor) else one)]
            if not self._levels[level]:
                del self._levels[level]
        here: list[Cursor | Group] = []
        branches = [] if self._tree is None else [self._tree]
        while branches:
            for _, _, item in branches.pop().heap:
                if isinstance(item, _Branch):
                    branches.append(item)
                elif wanted(item.group):
                    here.append(item)
        self._tree = self._grow(here) if here else None

    def level_of(self, priority: JobPriority, queued_at: float) -> int:
        """Return the priority with a step for each `aging_seconds` waited."""
        if self._terms.aging_seconds <= 0:
            return int(priority)
        return priority + int(max(0.0, self._now - queued_at) // self._terms.aging_seconds)

    def _level_of(self, cursor: Cursor) -> int:
        return self.level_of(cursor.group.priority, cursor.queued_at)

    def _add(self, cursor: Cursor) -> None:
        self._levels.setdefault(self._level_of(cursor), []).append(cursor)

    def _top(self) -> Cursor:
        top = self._path[-1].heap[0][2]
        assert isinstance(top, Cursor)
        return top

    def _grow(self, items: list[Cursor | Group]) -> _Branch:
        """Hang cursors into the tree of parties, and order every branch of it."""
        root = _Branch(self._parties.root)
        branches: dict[int, _Branch] = {id(root.party): root}
        for number, item in enumerate(items):
            cursor = item if isinstance(item, Cursor) else Cursor(item)
            entry = (_age_key(cursor), number, cursor)
            if self._terms.order is QueueOrder.FIFO:
                root.heap.append(entry)
                continue
            party = self._parties.user(cursor.group.team, cursor.group.user_id)
            branch = branches.get(id(party)) or self._branch(party, branches)
            branch.heap.append(entry)
        inwards = sorted(branches.values(), key=lambda one: -sum(1 for _ in one.party.chain()))
        for number, branch in enumerate(inwards):  # the innermost first: a branch is compared by its best
            heapify(branch.heap)
            if branch is not root:
                assert branch.party.parent is not None
                branches[id(branch.party.parent)].heap.append((self._key(branch), number, branch))
        return root

    def _branch(self, party: Party, branches: dict[int, _Branch]) -> _Branch:
        found = branches[id(party)] = _Branch(party)
        if party.parent is not None and id(party.parent) not in branches:
            self._branch(party.parent, branches)
        return found

    def _key(self, branch: _Branch) -> _Key:
        best = branch.heap[0][0]
        return (not branch.party.below_guarantee, self._parties.share(branch.party), best[2], best[3])

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
