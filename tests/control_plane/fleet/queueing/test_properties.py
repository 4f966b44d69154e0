"""What always holds, whatever is asked for: on small fleets, against the exact room and the product's."""

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.room import Asked, Room
from control_plane.fleet.queueing.keep import Keeper
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.model import QueueOrder, QueueTerms, WaitingJob
from control_plane.fleet.queueing.teams import Amount, Parties, asked_gpu_milli, within
from control_plane.model.ids import AllocationId, JobId, UserId
from control_plane.model.job import JobPriority, ResourceRequest
from control_plane.model.team import Team
from tests.control_plane.fleet.queueing.rooms import NOW, ListRoom, host, waiting
from tests.control_plane.fleet.queueing.world import World

TEAMS = (
    Team("a", weight=2.0, guaranteed_gpus=4),
    Team("a/x", guaranteed_gpus=2),
    Team("b", guaranteed_gpus=3, max_gpus=9),
    Team("b/y", max_gpus=6),
    Team("c"),
)
FLEET = (host(0, 4), host(1, 4), host(2, 4, "A100"), host(3, 2))
LIMITS = {UserId("ada"): 8}

SHAPES = st.sampled_from(
    [
        ResourceRequest(gpu_count=1),
        ResourceRequest(gpu_count=1, gpu_milli=500),
        ResourceRequest(gpu_count=2),
        ResourceRequest(gpu_count=3, gpu_types=("H100",)),
        ResourceRequest(gpu_count=4, node_count=1),
        ResourceRequest(gpu_count=4, node_count=2),
        ResourceRequest(gpu_count=8, node_count=2, gpu_types=("H100",)),
        ResourceRequest(cpu_milli=1000),
    ]
)


@st.composite
def job_lists(
    draw: st.DrawFn, most: int = 14, teams: tuple[str, ...] = ("", "a", "a/x", "b/y", "c")
) -> list[WaitingJob]:
    return [
        waiting(
            f"j{number:03}",
            team=draw(st.sampled_from(teams)),
            user=draw(st.sampled_from(["ada", "bob"])),
            priority=draw(st.sampled_from(JobPriority)),
            queued_at=NOW + timedelta(seconds=number),
            runtime=draw(st.sampled_from([0, 300, 1000, 1001, 4000])),
            resources=draw(SHAPES),
        )
        for number in range(draw(st.integers(1, most)))
    ]


both = pytest.mark.parametrize("kind", [ListRoom, Hosts], ids=["list", "hosts"])
few = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def _world(kind: type, terms: QueueTerms | None = None) -> World:
    world = World(FLEET, TEAMS, terms or QueueTerms(min_runtime_seconds=100, aging_seconds=3600))
    world.room = kind(FLEET)
    world.user_limits = dict(LIMITS)
    return world


def _held(room: Room) -> tuple[dict[str, int], dict[UserId, int]]:
    teams: dict[str, int] = defaultdict(int)
    users: dict[UserId, int] = defaultdict(int)
    for claim in room.claims().values():
        users[claim.user_id] += round(1000 * claim.gpus)
        for team in TEAMS:
            if within(claim.team, team.path):
                teams[team.path] += round(1000 * claim.gpus)
    return teams, users


@both
@few
@given(jobs=job_lists(), waits=st.lists(st.sampled_from([30, 200, 1000]), min_size=1, max_size=8))
def test_limits_hold_gangs_are_whole_and_every_eviction_is_needed(
    kind: type, jobs: list[WaitingJob], waits: list[int]
) -> None:
    world = _world(kind)
    for number, seconds in enumerate(waits):
        world.submit(*jobs[number * len(jobs) // len(waits) : (number + 1) * len(jobs) // len(waits)])
        before = dict(world.room.claims())
        decision = world.step()
        teams, users = _held(world.room)
        assert all(one.max_gpus is None or teams[one.path] <= 1000 * one.max_gpus for one in TEAMS)
        assert all(users[user] <= 1000 * limit for user, limit in LIMITS.items())
        for placed in decision.placements:
            wanted = world.jobs[placed.job_id].resources
            assert sum(len(part.gpu_uuids) for part in placed.placements) == wanted.gpu_count
            assert wanted.node_count in (0, len(placed.placements))
        for one in decision.preemptions:
            victim, winner = before[one.allocation_id], world.jobs[one.for_job_id]
            assert not victim.stopping
            assert victim.protected_until is not None
            assert victim.protected_until <= world.now
            assert winner.priority > victim.priority or winner.team.startswith(("a", "b"))
        _each_is_needed(
            world,
            {one.allocation_id for one in decision.preemptions},
            {one.for_job_id for one in decision.preemptions},
        )
        world.wait(seconds)
        world.end_due()
        if number % 2:
            world.stop_all()


def _each_is_needed(world: World, evicted: set[AllocationId], winners: set[JobId]) -> None:
    """With what stops gone the job fits; with any one of those evicted still there it does not."""
    if len(winners) != 1 or evicted != {one.allocation_id for one in world.room.claims().values() if one.stopping}:
        return  # who waits for whom is plain only with one winner, and nothing else stopping
    [winner] = winners
    job = world.jobs[winner]
    parties = Parties(TEAMS, Amount())
    Ledger().follow(world.room, parties)

    def fits(gone: set[AllocationId]) -> bool:
        left = [one for key, one in world.room.claims().items() if key in gone]
        with world.room.without(gone):
            return parties.over_limit(job, LIMITS, left) is None and world.room.find(_asked(job)) is not None

    assert fits(evicted)
    assert not any(fits(evicted - {one}) for one in evicted)


@both
@few
@given(jobs=job_lists(), teams=st.permutations(TEAMS))
def test_the_same_input_gives_the_same_decision(kind: type, jobs: list[WaitingJob], teams: list[Team]) -> None:
    decisions = []
    for order in (jobs, jobs[::-1]):
        world = _world(kind)
        world.teams = tuple(teams) if order is jobs else TEAMS
        for job in order:
            world.queue.put(job)
        decisions.append(world.decide())
        assert world.decide() == decisions[-1]
    assert decisions[0] == decisions[1]


@both
@few
@given(jobs=job_lists(), which=st.integers(0, 13), earlier=st.sampled_from([1, 3000, 8000]))
def test_having_waited_longer_never_costs_a_job_its_start(
    kind: type, jobs: list[WaitingJob], which: int, earlier: int
) -> None:
    job = jobs[which % len(jobs)]
    placed = []
    for queued_at in (job.queued_at, job.queued_at - timedelta(seconds=earlier)):
        world = _world(kind)
        for one in jobs:
            world.queue.put(replace(one, queued_at=queued_at) if one is job else one)
        world.now = NOW + timedelta(seconds=100)
        order = [standing.job_id for standing in world.queue.standings(world.room, TEAMS, LIMITS, now=world.now)]
        placed.append(order.index(job.job_id))
    assert placed[1] <= placed[0]


@both
@settings(few, max_examples=8)
@given(
    jobs=job_lists(most=12, teams=("",)),
    runtimes=st.lists(st.sampled_from([200, 1000, 1100, 4000]), min_size=20, max_size=20),
)
def test_backfill_never_delays_the_job_that_room_is_kept_for(
    kind: type, jobs: list[WaitingJob], runtimes: list[int]
) -> None:
    """Served by age alone, the first that does not fit starts no later than was first said, whoever comes after it."""
    world = World(FLEET, (), QueueTerms(preemption=False, order=QueueOrder.FIFO, aging_seconds=0))
    world.room = kind(FLEET)
    said: dict[str, datetime] = {}
    for job, runtime in zip(jobs, runtimes, strict=False):
        world.submit(replace(job, priority=JobPriority.NORMAL, max_runtime_seconds=runtime))
        world.step()
        _check_what_was_said(world, said)
        world.wait(100)
        world.end_due()
    for _ in range(150):  # twelve jobs of 4,000 seconds, one after the other, at the most
        if not world.queue.jobs().keys() & said.keys():
            break
        world.step()
        _check_what_was_said(world, said)
        world.wait(400)
        world.end_due()
    assert not said.keys() & world.queue.jobs().keys()


def _check_what_was_said(world: World, said: dict[str, datetime]) -> None:
    """Note when the first that does not fit is to start; what was noted earlier must still hold."""
    left = sorted(
        (job for job in world.queue.jobs().values() if _can(world, job.job_id)), key=lambda one: one.queued_at
    )
    if left:
        first = left[0]
        [standing] = [
            one for one in world.queue.standings(world.room, (), {}, now=world.now) if one.job_id == first.job_id
        ]
        assert standing.estimated_start_at is not None
        assert standing.estimated_start_at <= said.setdefault(first.job_id, standing.estimated_start_at)


def _asked(job: WaitingJob) -> Asked:
    return Asked(job.job_id, job.team, job.resources)


def _can(world: World, job_id: JobId) -> bool:
    return world.room.could_ever(_asked(world.jobs[job_id]))


@both
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(jobs=job_lists())
def test_every_job_that_can_start_does_while_others_keep_coming(kind: type, jobs: list[WaitingJob]) -> None:
    world = _world(kind, QueueTerms(min_runtime_seconds=100, aging_seconds=1800))
    jobs = [replace(job, max_runtime_seconds=job.max_runtime_seconds or 2000) for job in jobs]
    world.submit(*jobs)
    started: set[str] = set()
    able = {job.job_id for job in jobs if _can(world, job.job_id)}
    for number in range(150):
        at = world.now
        world.submit(
            waiting(f"n{number:03}", 1, team="c", user="bob", priority=JobPriority.URGENT, queued_at=at, runtime=900),
            waiting(f"m{number:03}", 2, team="a", user="bob", priority=JobPriority.HIGH, queued_at=at, runtime=900),
        )
        world.step()
        started |= set(world.running)
        if able <= started:
            break
        world.wait(300)
        world.end_due()
        world.stop_all()
    within_limits = {job.job_id for job in jobs if asked_gpu_milli(job.resources) <= 6000 or job.team in ("", "a", "c")}
    assert able & within_limits <= started


@both
@few
@given(jobs=job_lists())
def test_rounds_of_making_way_come_to_an_end(kind: type, jobs: list[WaitingJob]) -> None:
    """With nothing ending and nothing coming, nobody is made way for again and again."""
    world = _world(kind, QueueTerms(min_runtime_seconds=10, aging_seconds=0))
    jobs = [replace(job, max_runtime_seconds=0) for job in jobs]
    for number in range(3 * len(jobs) + 4):
        world.submit(*jobs[number : number + 1])
        world.step()
        world.wait(20)
        world.stop_all()
    for _ in range(len(jobs) + 2):
        decision = world.step()
        world.wait(20)
        world.stop_all()
    assert not decision.preemptions
    assert not decision.placements


def test_the_keeper_leaves_the_room_as_it_was() -> None:
    room, ledger = ListRoom(FLEET), Ledger()
    ledger.follow(room, Parties((), Amount()))
    keeper = Keeper(room, ledger, NOW)
    job = waiting("large", 8, nodes=2, resources=ResourceRequest(gpu_count=8, node_count=2))
    assert keeper.expect(job, Asked(job.job_id, "", job.resources), None) is not None
    assert not room.claims()
