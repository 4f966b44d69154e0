"""The jobs that wait, in groups of which all but the first can be passed over at once."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from control_plane.fleet.placement.room import Asked
from control_plane.fleet.queueing.model import WaitingJob
from control_plane.model.ids import JobId, UserId
from control_plane.model.job import JobPriority, ResourceRequest

NO_LIMIT: Final = 1_000
"""More than any class of how long a job may run."""


@dataclass(eq=False, slots=True)
class Shape:
    """What jobs that fit in the same places have in common. There is one object for each, compared as an object.

    `team` is empty unless the team decides where the job may go: only jobs of one team keep away from each other.
    """

    resources: ResourceRequest
    team: str
    groups: "dict[Group, None]" = field(default_factory=dict)

    def asked(self, job: WaitingJob) -> Asked:
        """Return what a job of this shape asks for."""
        return Asked(job.job_id, job.team, self.resources)

    def asked_by_first(self) -> Asked:
        """Return what the jobs of this shape ask for, in the name of one of them."""
        group = next(iter(self.groups))
        return Asked(group.ages[0][1], group.team, self.resources)


@dataclass(eq=False, slots=True)
class Group:
    """Jobs of one user that differ in nothing but their age, and little in how long they may run; oldest first."""

    team: str
    user_id: UserId
    priority: JobPriority
    shape: Shape
    runtime_class: int
    ages: list[tuple[float, JobId]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Lane:
    """The groups of one user in one team with one priority: since when the first job of each waits, its id, the group.

    The oldest comes first, so that whose turn it is can be told from the first of each lane.
    """

    team: str
    user_id: UserId
    priority: JobPriority
    firsts: list[tuple[float, JobId, Group]] = field(default_factory=list)

    @property
    def key(self) -> "LaneKey":
        """What tells it from others."""
        return self.team, self.user_id, self.priority


LaneKey: TypeAlias = tuple[str, UserId, JobPriority]
_Key = tuple[str, UserId, JobPriority, Shape, int]


class Backlog:
    """The jobs that wait. Those that wait for other jobs are kept, but are in no group."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, WaitingJob] = {}
        self._groups: dict[_Key, Group] = {}
        self._lanes: dict[LaneKey, Lane] = {}
        self._changed: set[LaneKey] = set()
        self._shapes: dict[tuple[ResourceRequest, str], Shape] = {}
        self._priorities: Counter[JobPriority] = Counter()

    def put(self, job: WaitingJob) -> None:
        """Take a job in, or take it as it is now."""
        self.drop(job.job_id)
        self._jobs[job.job_id] = job
        if job.waits_for:
            return
        shape = self._shape(job)
        key = (job.team, job.user_id, job.priority, shape, runtime_class(job.max_runtime_seconds))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(*key)
            shape.groups[group] = None
            self._priorities[job.priority] += 1
        first = group.ages[0] if group.ages else None
        insort(group.ages, _age(job))
        self._in_lane(group, first)

    def drop(self, job_id: JobId) -> None:
        """Forget a job; nothing happens if it is not there."""
        job = self._jobs.pop(job_id, None)
        if job is None or job.waits_for:
            return
        shape = self._shape(job)
        key = (job.team, job.user_id, job.priority, shape, runtime_class(job.max_runtime_seconds))
        group = self._groups[key]
        first = group.ages[0]
        del group.ages[bisect_left(group.ages, _age(job))]
        self._in_lane(group, first)
        if group.ages:
            return
        del self._groups[key]
        del shape.groups[group]
        self._priorities[job.priority] -= 1
        if not shape.groups:
            del self._shapes[shape.resources, shape.team]

    def _in_lane(self, group: Group, before: tuple[float, JobId] | None) -> None:
        """Move a group in its lane if it has another first job than before, or none."""
        after = group.ages[0] if group.ages else None
        if before == after:
            return
        key = (group.team, group.user_id, group.priority)
        self._changed.add(key)
        lane = self._lanes.get(key) or self._lanes.setdefault(key, Lane(*key))
        if before is not None:
            del lane.firsts[bisect_left(lane.firsts, before)]  # ids differ, so that groups are never compared
        if after is not None:
            insort(lane.firsts, (*after, group))
        if not lane.firsts:
            del self._lanes[key]

    @property
    def jobs(self) -> Mapping[JobId, WaitingJob]:
        """All that wait, in the order in which they were put."""
        return self._jobs

    def lanes(self) -> Collection[Lane]:
        """Return the lanes, in which all groups are; none is empty."""
        return self._lanes.values()

    def lane(self, key: LaneKey) -> Lane | None:
        """Return a lane, if there is one."""
        return self._lanes.get(key)

    def changed_lanes(self) -> set[LaneKey]:
        """Return the lanes whose firsts are others than when this was last asked, those that are gone too."""
        changed, self._changed = self._changed, set()
        return changed

    def shapes(self) -> Collection[Shape]:
        """Return the shapes that jobs in groups have."""
        return self._shapes.values()

    def highest_priority(self) -> JobPriority | None:
        """Return the highest priority that was submitted of the jobs in groups."""
        return max((priority for priority, groups in self._priorities.items() if groups), default=None)

    def shape_of(self, job: WaitingJob) -> Shape:
        """Return the shape of a job; for one that waits for others it may be one that is not kept."""
        key = _shape_key(job)
        return self._shapes.get(key) or Shape(*key)

    def _shape(self, job: WaitingJob) -> Shape:
        key = _shape_key(job)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = Shape(*key)
        return shape


def _shape_key(job: WaitingJob) -> tuple[ResourceRequest, str]:
    return job.resources, job.team if job.resources.anti_affinity else ""


def _age(job: WaitingJob) -> tuple[float, JobId]:
    return job.queued_at.timestamp(), job.job_id


def runtime_class(seconds: int) -> int:
    """Four classes for each doubling, so that jobs of all lengths still make few groups; 0 is no limit."""
    if seconds <= 0:
        return 0
    octave = seconds.bit_length() - 1
    return 4 * octave + (seconds * 4 >> octave) - 3
