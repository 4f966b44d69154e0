"""What holds for any fleet and any queue."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.fleet.placement.history import History
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.packing.state import OverCommitError
from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.placement.room import Asked, Claim, Found, Host
from control_plane.model.job import ResourceRequest, TopologyDomain
from tests.control_plane.fleet.placement.placement_cases import allocation_id, asked, claim, fleets, requests

queues = st.lists(st.tuples(requests(), st.sampled_from(["red", "blue"])), min_size=1, max_size=12)
policies = st.sampled_from(PackingPolicy)


def fill(room: Hosts, queue: list[tuple[ResourceRequest, str]], *, leave_every: int = 5) -> list[Found | None]:
    """Place the queue; every few jobs one that was placed before leaves."""
    found = []
    for number, (request, team) in enumerate(queue):
        one = asked(request, f"job-{number}", team)
        place = room.find(one)
        found.append(place)
        if place is not None:
            room.put(claim(f"a{number}", one, place))
        if number % leave_every == leave_every - 1:
            room.drop(allocation_id(f"a{number // 2}"))
    return found


def snapshot(room: Hosts) -> dict[str, bytes]:
    grid = room.grid
    names = ("cpu_free", "memory_free", "holders", "exclusive", "whole_free", "largest_free", "serves")
    arrays = {name: getattr(grid, name)[: grid.count].tobytes() for name in names}
    slots = ("gpu_free", "slot_used", "gpu_memory_used", "gpu_memory_free")
    return arrays | {name: getattr(grid, name)[: grid.count].tobytes() for name in slots}


def check_found(room: Hosts, one: Asked, found: Found) -> None:
    """What a job asked for is what it gets, told by the plain words of the request."""
    request = one.resources
    hosts = [room.host(member.node_id) for member in found.placements]
    assert len({member.node_id for member in found.placements}) == len(found.placements)
    assert [member.rank for member in found.placements] == list(range(len(found.placements)))
    assert request.node_count in (0, len(found.placements))
    total = 1 if request.gpu_milli else request.gpu_count
    assert sum(len(member.gpu_uuids) for member in found.placements) == total
    assert len({len(member.gpu_uuids) for member in found.placements}) == 1
    assert found.reason
    types = set()
    for member, place in zip(found.placements, hosts, strict=True):
        assert place is not None
        assert place.open
        assert all(place.labels.get(name) == value for name, value in request.node_labels)
        assert not {place.name, place.node_id} & set(request.exclude_nodes)
        assert place.shares or not request.gpu_milli
        mine = [slot for slot in place.slots if slot.uuid in member.gpu_uuids]
        assert len(mine) == len(member.gpu_uuids)
        types |= {slot.gpu_type for slot in mine}
        for slot in mine:
            assert slot.gpu_type in (request.gpu_types or (slot.gpu_type,))
            assert slot.gpu_type not in request.exclude_gpu_types
            assert slot.memory_bytes >= request.min_gpu_memory_bytes
            assert slot.mig_profile == request.mig_profile
        if request.topology is TopologyDomain.NVLINK:
            assert len({slot.island for slot in mine}) <= 1
        others = room.on_host(place.node_id)
        assert not any(other.resources.exclusive_nodes for other in others)
        assert not (request.exclusive_nodes and others)
        if request.anti_affinity:
            assert (one.team, request.anti_affinity) not in {(o.team, o.resources.anti_affinity) for o in others}
    assert types == ({found.gpu_type} if total else set())
    if request.topology in (TopologyDomain.NVLINK, TopologyDomain.NODE):
        assert len(hosts) == 1
    if len(hosts) > 1 and request.topology in (TopologyDomain.RACK, TopologyDomain.ZONE):
        labels = ("zone", "rack") if request.topology is TopologyDomain.RACK else ("zone",)
        places = {tuple(place.labels.get(label, "") for label in labels) for place in hosts if place is not None}
        assert len(places) == 1
        assert next(iter(places))[-1]


def check_not_over_committed(fleet: list[Host], claims: list[Claim]) -> None:
    for place in fleet:
        here = [(one, part) for one in claims for part in one.placements if part.node_id == place.node_id]
        assert sum(one.resources.cpu_milli for one, _ in here) <= place.cpu_milli
        assert sum(one.resources.memory_bytes for one, _ in here) <= place.memory_bytes
        for slot in place.slots:
            held = [one.resources for one, part in here if slot.uuid in part.gpu_uuids]
            assert sum(request.gpu_milli or 1_000 for request in held) <= 1_000
            memory = [
                (request.share_memory_bytes or slot.memory_bytes * request.gpu_milli // 1_000)
                if request.gpu_milli
                else slot.memory_bytes
                for request in held
            ]
            assert sum(memory) <= slot.memory_bytes


@settings(max_examples=120, deadline=None)
@given(fleet=fleets(), queue=queues, policy=policies)
def test_what_is_found_is_what_was_asked_for_and_nothing_is_over_committed(
    fleet: list[Host], queue: list[tuple[ResourceRequest, str]], policy: PackingPolicy
) -> None:
    room = Hosts(fleet, policy=policy)
    for number, (request, team) in enumerate(queue):
        one = asked(request, f"job-{number}", team)
        found = room.find(one)
        if found is None:
            continue
        assert room.could_ever(one)
        check_found(room, one, found)
        room.put(claim(f"a{number}", one, found))
        check_not_over_committed(fleet, list(room.claims().values()))


@settings(max_examples=60, deadline=None)
@given(fleet=fleets(), queue=queues, policy=policies)
def test_the_same_calls_give_the_same_placements_whatever_is_kept(
    fleet: list[Host], queue: list[tuple[ResourceRequest, str]], policy: PackingPolicy
) -> None:
    history = History()
    for request, _ in queue * 20:
        history.note(request)
    first = Hosts(fleet, policy=policy, history=history, seed=3)
    second = Hosts(fleet, policy=policy, history=History.load(history.dump()), seed=3)
    for one in fleet[:1]:  # answers to other questions, and hosts that come again, change nothing
        second.find(asked(ResourceRequest(gpu_count=2)))
        assert second.host(one.node_id) == one
    assert fill(first, queue) == fill(second, queue)


@settings(max_examples=60, deadline=None)
@given(fleet=fleets(), queue=queues, wanted=requests(), chance=st.randoms(use_true_random=False))
def test_without_frees_inside_the_block_and_restores_exactly(
    fleet: list[Host], queue: list[tuple[ResourceRequest, str]], wanted: ResourceRequest, chance: "object"
) -> None:
    room = Hosts(fleet)
    fill(room, queue)
    before, claims, answer = snapshot(room), dict(room.claims()), room.find(asked(wanted))
    away = list(claims)[::2]
    with room.without(away):
        assert list(room.claims()) == [key for key in claims if key not in away]
        fresh = Hosts(fleet)
        for key, one in claims.items():
            if key not in away:
                fresh.put(one)
        assert snapshot(fresh) == snapshot(room)
        assert (fresh.find(asked(wanted)) is None) == (room.find(asked(wanted)) is None)
        with room.without(claims):
            assert not room.claims()
            assert snapshot(room) == snapshot(Hosts(fleet))
    assert snapshot(room) == before
    assert list(room.claims().items()) == list(claims.items())
    assert room.find(asked(wanted)) == answer


@settings(max_examples=60, deadline=None)
@given(fleet=fleets(), queue=queues)
def test_all_that_left_leaves_the_fleet_empty(fleet: list[Host], queue: list[tuple[ResourceRequest, str]]) -> None:
    room = Hosts(fleet)
    fill(room, queue)
    for key in list(room.claims()):
        room.drop(key)
    assert snapshot(room) == snapshot(Hosts(fleet))
    assert not room.claims()


@settings(max_examples=60, deadline=None)
@given(fleet=fleets(), queue=queues)
def test_hosts_that_come_again_hold_what_they_held(fleet: list[Host], queue: list[tuple[ResourceRequest, str]]) -> None:
    room = Hosts(fleet)
    fill(room, queue)
    before, claims = snapshot(room), dict(room.claims())
    for one in fleet:
        room.drop_host(one.node_id)
    assert room.claims() == claims
    assert room.find(asked(ResourceRequest())) is None
    for one in reversed(fleet):  # rows that are vacant are taken in their order, so this one is the other way round
        room.put_host(replace(one, open=not one.open))
        room.put_host(one)
    for one in fleet:
        room.drop_host(one.node_id)
    for one in fleet:
        room.put_host(one)
    assert snapshot(room) == before


@settings(max_examples=80, deadline=None)
@given(fleet=fleets(), queue=queues, wanted=requests())
def test_scores_that_are_kept_find_what_scores_made_afresh_find(
    fleet: list[Host], queue: list[tuple[ResourceRequest, str]], wanted: ResourceRequest
) -> None:
    room, one = Hosts(fleet), asked(wanted, team="red")
    for number, (request, team) in enumerate(queue):
        room.find(one)
        other = asked(request, f"job-{number}", team)
        found = room.find(other)
        if found is not None:
            room.put(claim(f"a{number}", other, found))
        fresh = Hosts(fleet)
        for held in room.claims().values():
            fresh.put(held)
        assert room.find(one) == fresh.find(one)


@settings(max_examples=60, deadline=None)
@given(fleet=fleets(), queue=queues)
def test_a_claim_that_does_not_fit_is_refused_and_changes_nothing(
    fleet: list[Host], queue: list[tuple[ResourceRequest, str]]
) -> None:
    room = Hosts(fleet)
    fill(room, queue)
    before = snapshot(room)
    for one in list(room.claims().values()):
        with pytest.raises(OverCommitError):
            room.put(one)
        if one.resources.gpu_count and not one.resources.gpu_milli:
            with pytest.raises(OverCommitError):
                room.put(replace(one, allocation_id=allocation_id("again")))
    assert snapshot(room) == before
    assert np.all(room.grid.gpu_free >= 0)
