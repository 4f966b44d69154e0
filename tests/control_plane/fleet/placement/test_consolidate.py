from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.fleet.placement.consolidate import MAX_MOVES, Consolidation, consolidate
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.room import Asked, Host
from control_plane.model.ids import AllocationId
from control_plane.model.job import ResourceRequest, TopologyDomain
from tests.control_plane.fleet.placement.placement_cases import (
    allocation_id,
    asked,
    claim,
    fleets,
    host,
    names,
    requests,
)
from tests.control_plane.fleet.placement.test_hosts_properties import fill, queues, snapshot

GANG = asked(ResourceRequest(gpu_count=8, node_count=1), "gang")


def scattered(sizes: list[int]) -> Hosts:
    """Hosts with one job each, of so many of its GPUs."""
    room = Hosts([host(f"h{number}", labels={"rack": str(number // 2)}) for number in range(len(sizes))])
    for number, size in enumerate(sizes):
        others = tuple(f"h{other}" for other in range(len(sizes)) if other != number)
        pinned = asked(ResourceRequest(gpu_count=size, exclude_nodes=others), f"j{number}")
        found = room.find(pinned)
        assert found is not None
        free_to_go = asked(ResourceRequest(gpu_count=size, node_count=1), f"j{number}")
        room.put(claim(f"j{number}", free_to_go, found))
    return room


def moved(plan: Consolidation | None) -> set[AllocationId]:
    assert plan is not None
    return {move.allocation_id for move in plan.moves}


def test_the_jobs_that_lose_least_move() -> None:
    room = scattered([2, 3, 4])
    lost = {allocation_id(f"j{number}"): cost for number, cost in enumerate([50.0, 10.0, 90.0])}
    plan = consolidate(room, GANG, lost)
    assert moved(plan) == {allocation_id("j1")}
    assert plan is not None
    assert plan.work_lost == 10.0
    assert names(room, plan.found) == ["h1"]
    assert names(room, plan.moves[0].to) in (["h0"], ["h2"])


def test_what_may_not_move_stays_and_what_has_nowhere_to_go_is_no_help() -> None:
    room = scattered([2, 3, 4])
    assert consolidate(room, GANG, {}) is None
    assert moved(consolidate(room, GANG, {allocation_id("j2"): 90.0})) == {allocation_id("j2")}
    assert consolidate(scattered([7, 7, 7]), GANG, {allocation_id(f"j{number}"): 1.0 for number in range(3)}) is None


def test_a_job_that_fits_needs_no_moves_and_one_that_never_will_gets_none() -> None:
    room = scattered([2, 3])
    fits = consolidate(room, asked(ResourceRequest(gpu_count=6), "x"), {})
    assert fits is not None
    assert fits.moves == ()
    assert consolidate(room, asked(ResourceRequest(gpu_count=24), "x"), dict.fromkeys(room.claims(), 1.0)) is None


def test_a_gang_that_demands_a_rack_gets_one_cleared() -> None:
    room = scattered([1, 2, 3, 1, 4, 4])
    gang = asked(ResourceRequest(gpu_count=16, node_count=2, topology=TopologyDomain.RACK), "gang")
    plan = consolidate(room, gang, dict.fromkeys(room.claims(), 1.0))
    assert len(moved(plan)) == 2
    assert plan is not None
    assert names(room, plan.found) in (["h0", "h1"], ["h2", "h3"], ["h4", "h5"])


def carried_out(room: Hosts, one: Asked, plan: Consolidation) -> None:
    """Do as proposed: nothing is over-committed and the job starts."""
    held = dict(room.claims())
    for move in plan.moves:
        room.drop(move.allocation_id)
    room.put(claim("gang", one, plan.found))
    for number, move in enumerate(plan.moves):
        old = held[move.allocation_id]
        room.put(claim(f"moved-{number}", Asked(old.job_id, old.team, old.resources), move.to))


@settings(max_examples=120, deadline=None)
@given(fleet=fleets(), queue=queues, wanted=requests(), data=st.data())
def test_only_what_makes_the_job_placeable_is_proposed(
    fleet: list[Host], queue: list[tuple[ResourceRequest, str]], wanted: ResourceRequest, data: st.DataObject
) -> None:
    room = Hosts(fleet)
    fill(room, queue)
    one = asked(wanted, "gang", "red")
    may = data.draw(st.lists(st.sampled_from(sorted(room.claims())), unique=True)) if room.claims() else []
    movable = {key: float(number % 3) for number, key in enumerate(may)}
    before, claims = snapshot(room), dict(room.claims())
    plan = consolidate(room, one, movable)
    assert snapshot(room) == before
    assert list(room.claims().items()) == list(claims.items())
    assert plan == consolidate(room, one, movable)
    if plan is None:
        assert room.find(one) is None
        return
    assert len(plan.moves) <= MAX_MOVES
    assert moved(plan) <= set(movable)
    assert plan.work_lost == sum(movable[key] for key in moved(plan))
    assert (plan.moves == ()) == (room.find(one) is not None)
    carried_out(room, one, plan)
