"""What always holds in small worlds in which everything is scarce, whatever happens there."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.queueing.backlog import Backlog
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.model import QueueDecision, QueueOrder, QueueTerms, WaitingJob
from control_plane.fleet.queueing.seats import Seats
from control_plane.fleet.queueing.teams import Parties, Party, asked_amount, fleet_amount
from control_plane.fleet.queueing.turns import Turns
from control_plane.model.ids import JobId
from control_plane.model.job import JobPriority
from tests.control_plane.fleet.queueing.nasty import (
    LIMITS,
    RULES,
    SHAPES,
    TEAMS,
    Nasty,
    asked,
    begin,
    check_limits,
    check_nothing_is_over_committed,
    fleet_of,
    happen,
    many,
    winners_of,
    worlds,
)
from tests.control_plane.fleet.queueing.rooms import NOW, waiting
from tests.control_plane.fleet.queueing.world import World

_MOVES = 2


def _lived(nasty: Nasty) -> Iterator[tuple[World, QueueDecision]]:
    """Yield the world after each decision, carried out."""
    world = begin(nasty)
    for event in nasty.events:
        decision = happen(world, event)
        if decision is not None:
            yield world, decision


@many
@given(nasty=worlds)
def test_no_gpu_and_no_host_is_over_committed_gangs_are_whole_and_limits_hold(nasty: Nasty) -> None:
    for world, decision in _lived(nasty):
        claims = list(world.room.claims().values())
        check_nothing_is_over_committed(fleet_of(nasty), claims)
        check_limits(claims)
        for placed in decision.placements:
            wanted = world.jobs[placed.job_id].resources
            nodes = {part.node_id for part in placed.placements}
            assert sum(len(part.gpu_uuids) for part in placed.placements) == wanted.gpu_count
            assert len(nodes) == len(placed.placements)
            assert wanted.node_count in (0, len(nodes))
            assert len({len(part.gpu_uuids) for part in placed.placements}) == 1
            open_hosts = {host.node_id for host in world.room.grid.hosts if host and host.open}  # type: ignore[attr-defined] # the product's room
            assert nodes <= open_hosts


@many
@given(nasty=worlds)
def test_who_makes_way_may_be_asked_to_and_helps_whom_it_is_for(nasty: Nasty) -> None:
    """Once all that is asked to stop has stopped, everybody whom others made way for starts at once."""
    world = begin(nasty)
    for event in nasty.events:
        before = dict(world.room.claims())
        decision = happen(world, event)
        if decision is None or not decision.preemptions:
            continue
        for one in decision.preemptions:
            victim, winner = before[one.allocation_id], world.jobs[one.for_job_id]
            assert not victim.stopping
            assert victim.protected_until is not None
            assert victim.protected_until <= world.now
            assert winner.priority > victim.priority or winner.team in ("a", "a/x")
        winners = set(winners_of(decision))
        assert not winners & {one.job_id for one in decision.placements}
        world.stop_all()
        started = {one.job_id for one in world.step().placements}
        assert winners <= started


@many
@given(nasty=worlds)
def test_nobody_makes_way_whose_staying_would_cost_nobody_the_start(nasty: Nasty) -> None:
    """With any one of those who make way still there, the job that they make way for does not fit."""
    world = begin(nasty)
    for event in nasty.events:
        decision = happen(world, event)
        if decision is None or not decision.preemptions:
            continue
        made_way = winners_of(decision)
        stopping = {key for key, one in world.room.claims().items() if one.stopping}
        if len(made_way) > 1 or stopping != set().union(*made_way.values()):
            continue  # who waits for whom is plain only with one winner, and nothing else stopping
        [(winner, evicted)] = made_way.items()
        job = world.jobs[winner]
        parties = Parties(TEAMS, fleet_amount(fleet_of(nasty)))
        Ledger().follow(world.room, parties)
        for staying in evicted:
            gone = evicted - {staying}
            left = [world.room.claims()[key] for key in gone]
            with world.room.without(gone):
                fits = parties.over_limit(job, LIMITS, left) is None and world.room.find(asked(job)) is not None
            assert not fits


@many
@given(nasty=worlds, which=st.integers(0, 99), earlier=st.sampled_from([1, 60, 1_000]))
def test_having_waited_longer_never_costs_a_job_its_place(nasty: Nasty, which: int, earlier: int) -> None:
    places = []
    for seconds in (0, earlier):
        world = begin(nasty)
        for event in nasty.events:
            happen(world, event)
        waits = sorted(world.queue.jobs())
        if not waits:
            return
        job = world.queue.jobs()[waits[which % len(waits)]]
        world.queue.put(replace(job, queued_at=job.queued_at - timedelta(seconds=seconds)))
        found = world.queue.standings(world.room, TEAMS, LIMITS, now=world.now)
        assert [one.position for one in found] == list(range(1, len(waits) + 1))
        places.append(next(one.position for one in found if one.job_id == job.job_id))
    assert places[1] <= places[0]


def _open_and_ending(world: World, nasty: Nasty) -> set[JobId]:
    """Open all hosts and see to it that every job ends; return those that can start some time."""
    assert isinstance(world.room, Hosts)
    for host in fleet_of(nasty):
        world.room.put_host(host)
    world.queue.see(fleet_of(nasty))
    for claim in list(world.room.claims().values()):
        world.room.adopt(replace(claim, ends_by=world.now + timedelta(seconds=900)))
    for job in world.jobs.values():
        world.jobs[job.job_id] = replace(job, max_runtime_seconds=job.max_runtime_seconds or 900)
    parties, able = Parties(TEAMS, fleet_amount(fleet_of(nasty))), set()
    for job in [world.jobs[job_id] for job_id in world.queue.jobs()]:
        world.queue.put(job)
        if world.room.could_ever(asked(job)) and parties.over_limit(job, LIMITS) is None:
            able.add(job.job_id)
    return able


@settings(many, max_examples=60)
@given(nasty=worlds, coming=st.integers(0, 2**12))
def test_who_can_start_does_in_the_end_though_others_of_a_higher_priority_keep_coming(
    nasty: Nasty, coming: int
) -> None:
    world = begin(replace(nasty, rule=2 if nasty.rule == 2 else 0))
    for event in nasty.events:
        happen(world, event)
    able = _open_and_ending(world, nasty)
    started: set[str] = set()
    for step in range(160):
        shape = SHAPES[(coming + step) % 4]
        world.submit(
            waiting(
                f"late{step}",
                resources=shape,
                user="bob",
                priority=JobPriority.URGENT,
                queued_at=world.now,
                runtime=200,
            )
        )
        started |= {one.job_id for one in world.step().placements}
        if able <= started:
            break
        for claim in list(world.room.claims().values()):
            if world.jobs[claim.job_id].epoch == _MOVES:  # moved often enough: the governor leaves it to end
                world.room.adopt(replace(claim, protected_until=world.now + timedelta(days=1)))  # type: ignore[attr-defined]
        world.wait(100)
        world.end_due()
        world.stop_all()
    assert able <= started


@many
@given(nasty=worlds)
def test_the_same_happenings_give_the_same_decisions(nasty: Nasty) -> None:
    one, other = ([decision for _, decision in _lived(nasty)] for _ in range(2))
    assert one == other


@many
@given(nasty=worlds)
def test_what_is_kept_between_decisions_is_what_is_found_anew(nasty: Nasty) -> None:
    """The order of turns, what does not fit, what is held and who may be asked: as if nothing had been kept."""
    world = begin(nasty)
    for event in nasty.events:
        if happen(world, event) is None:
            continue
        queue, room = world.queue, world.room
        assert isinstance(room, Hosts)
        round_ = queue._round(room, TEAMS, LIMITS, world.now, {})
        assert queue._unfit.find(room) == {
            shape for shape in queue._backlog.shapes() if room.find(shape.asked_by_first()) is None
        }
        fresh, parties = Ledger(), Parties(TEAMS, queue._amount)
        fresh.follow(room, parties)
        fresh.expose(world.now, queue.terms.min_runtime_seconds)
        assert fresh.claims == queue._ledger.claims == room.claims()
        assert fresh.exposed == queue._ledger.exposed
        assert fresh.in_order_of_end(99) == queue._ledger.in_order_of_end(99)
        seats = Seats(queue._backlog)
        seats.follow(queue.terms, parties, world.now)
        assert seats.levels == queue._seats.levels
        assert not round_.placements


@many
@given(
    numbers=st.lists(st.integers(0, 2**16), min_size=1, max_size=24),
    rule=st.integers(0, len(RULES) - 1),
    seconds=st.integers(0, 400),
)
def test_turns_go_to_the_one_that_comes_first_by_the_rules_told_in_full(
    numbers: list[int], rule: int, seconds: int
) -> None:
    """The best is looked for among all, each time, level by level: priority with age, teams, users, then age."""
    terms, backlog, parties = RULES[rule], Backlog(), Parties(TEAMS, fleet_amount(fleet_of(Nasty((4, 4, 4), 0, ()))))
    for number, drawn in enumerate(numbers):
        backlog.put(
            waiting(
                f"j{number:02}",
                resources=SHAPES[drawn % len(SHAPES)],
                team=("", "a", "a/x", "b")[drawn // 16 % 4],
                user=("ada", "bob")[drawn // 64 % 2],
                priority=list(JobPriority)[drawn // 128 % len(JobPriority)],
                queued_at=NOW + timedelta(seconds=drawn // 1024),
            )
        )
    now = NOW + timedelta(seconds=seconds)
    seats = Seats(backlog)
    seats.follow(terms, parties, now)
    turns, left = Turns(seats, terms, parties, now), dict(backlog.jobs)
    for number in (*numbers, *numbers):
        best = turns.best()
        assert (best.job_id if best else None) == (_first(left, terms, parties, now) if left else None)
        if best is None:
            break
        if number % 5 == 0:  # nothing more of its group can be served
            for _, job_id in best.group.ages:
                left.pop(job_id, None)
            turns.set_aside()
            continue
        job = left.pop(best.job_id)
        if number % 5 < 4:  # it starts
            parties.charge(job.team, job.user_id, asked_amount(job.resources))
        turns.advance()
        if number % 7 == 0:  # some are hopeless
            groups = [one for shape in backlog.shapes() for one in shape.groups if ord(one.ages[0][1][-1]) % 2]
            there = {job_id for one in groups for _, job_id in one.ages}
            left = {job_id: one for job_id, one in left.items() if job_id in there}
            turns.keep(groups)


def _first(left: dict[JobId, WaitingJob], terms: QueueTerms, parties: Parties, now: datetime) -> JobId:
    def level(job: WaitingJob) -> int:
        waited = max(0.0, (now - job.queued_at).total_seconds())
        return job.priority + (int(waited // terms.aging_seconds) if terms.aging_seconds else 0)

    highest = max(map(level, left.values()))
    rivals = [job for job in left.values() if level(job) == highest]
    if terms.order is QueueOrder.FIFO:
        return min(rivals, key=lambda one: (one.queued_at, one.job_id)).job_id
    return _first_in(parties.root, rivals, parties).job_id


def _first_in(party: Party, rivals: list[WaitingJob], parties: Parties) -> WaitingJob:
    """Return whose turn it is of those in a party: that of the party in it which comes first."""
    inner: dict[int, tuple[Party, list[WaitingJob]]] = {}
    for job in rivals:
        chain = list(parties.user(job.team, job.user_id).chain())
        if chain[0] is party:
            return min(rivals, key=lambda one: (one.queued_at, one.job_id))
        child = chain[chain.index(party) - 1]
        inner.setdefault(id(child), (child, []))[1].append(job)
    firsts = [(child, _first_in(child, jobs, parties)) for child, jobs in inner.values()]
    best = min(
        firsts,
        key=lambda one: (not one[0].below_guarantee, parties.share(one[0]), one[1].queued_at, one[1].job_id),
    )
    return best[1]
