"""Single cases of where jobs go."""

from dataclasses import replace

import pytest

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.fleet.placement.history import History
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.room import Claim
from control_plane.model.action import Placement
from control_plane.model.ids import UserId
from control_plane.model.job import JobPriority, ResourceRequest, TopologyDomain
from tests.control_plane.fleet.placement.placement_cases import (
    GB,
    NOW,
    allocation_id,
    asked,
    host,
    names,
    node_id,
    run,
    slots,
)


def whole(count: int, nodes: int = 0, **more: object) -> ResourceRequest:
    return replace(ResourceRequest(gpu_count=count, node_count=nodes), **more)  # type: ignore[arg-type]


def part(milli: int, **more: object) -> ResourceRequest:
    return replace(ResourceRequest(gpu_count=1, gpu_milli=milli), **more)  # type: ignore[arg-type]


def uuids(room: Hosts, name: str, request: ResourceRequest) -> list[str]:
    found = run(room, name, request)
    assert found is not None
    return [uuid for member in found.placements for uuid in member.gpu_uuids]


def test_a_job_without_a_wish_goes_to_one_host_and_leaves_whole_ones_free() -> None:
    room = Hosts([host("a"), host("b"), host("c")])
    assert [names(room, run(room, f"j{number}", whole(2))) for number in range(4)] == [["a"]] * 4
    assert names(room, run(room, "large", whole(16))) == ["b", "c"]
    assert run(room, "more", whole(1)) is None


def test_gpu_types_are_tried_in_the_order_in_which_they_are_liked() -> None:
    room = Hosts([host("a", 8, "A100"), host("h", 2, "H100"), host("x", 8, "H200")])
    wish = whole(2, gpu_types=("H100", "H200"))
    assert [names(room, run(room, f"j{number}", wish)) for number in range(5)] == [["h"], ["x"], ["x"], ["x"], ["x"]]
    assert run(room, "none", wish) is None
    assert names(room, run(room, "any", whole(1, exclude_gpu_types=("H200",)))) == ["a"]
    assert run(room, "memory", whole(1, min_gpu_memory_bytes=80 * GB)) is None


def test_on_a_host_of_several_models_a_job_gets_gpus_of_one() -> None:
    room = Hosts([host("m", 4, "H100", extra=slots("m", 4, "A100", first=4))])
    assert room.find(asked(whole(6))) is None
    assert uuids(room, "a", whole(3, gpu_types=("A100",))) == ["GPU-m-4", "GPU-m-5", "GPU-m-6"]
    found = room.find(asked(whole(2)))
    assert found is not None
    assert found.gpu_type == "H100"


def test_parts_share_a_gpu_until_its_thousandths_or_its_memory_are_gone() -> None:
    room = Hosts([host("a", 2)])
    assert uuids(room, "j1", part(500)) == uuids(room, "j2", part(500)) == ["GPU-a-0"]
    assert uuids(room, "j3", part(200, share_memory_bytes=60 * GB)) == ["GPU-a-1"]
    assert run(room, "j4", part(300)) is None  # 24 GB go with it, 20 GB are left
    assert uuids(room, "j5", part(300, share_memory_bytes=20 * GB)) == ["GPU-a-1"]
    assert run(Hosts([host("b", shares=False)]), "j6", part(100)) is None


def test_mig_devices_are_given_by_profile_and_whole() -> None:
    room = Hosts([host("a", 1, extra=slots("a", 2, first=1, profile="1g.10gb"))])
    assert uuids(room, "gpu", whole(1)) == ["GPU-a-0"]
    assert uuids(room, "mig", whole(2, mig_profile="1g.10gb")) == ["GPU-a-1", "GPU-a-2"]
    assert run(room, "mig2", whole(1, mig_profile="1g.10gb")) is None
    assert not room.could_ever(asked(whole(1, mig_profile="3g.40gb")))
    assert not room.could_ever(asked(part(100, mig_profile="1g.10gb")))


def test_a_host_with_64_slots_serves_all_of_them() -> None:
    room = Hosts([host("small", 1), host("a", 8, extra=slots("a", 56, first=8, profile="1g.10gb"))])
    assert len(uuids(room, "mig", whole(56, mig_profile="1g.10gb"))) == 56
    assert len(uuids(room, "gpu", whole(8))) == 8


def test_gpus_of_one_island_are_preferred_and_given_if_demanded() -> None:
    room = Hosts([host("a", 8, islands=2), host("b", 8, islands=2)])
    assert uuids(room, "one", whole(1)) == ["GPU-a-0"]
    assert uuids(room, "three", whole(3)) == ["GPU-a-1", "GPU-a-2", "GPU-a-3"]  # fills the island, not the host
    assert uuids(room, "two", whole(2)) == ["GPU-a-4", "GPU-a-5"]
    assert names(room, run(room, "four", whole(4))) == ["b"]  # there in one island
    nvlink = TopologyDomain.NVLINK
    assert uuids(room, "demanded", whole(3, topology=nvlink)) == ["GPU-b-4", "GPU-b-5", "GPU-b-6"]
    assert run(room, "too many", whole(3, topology=nvlink)) is None
    apart = Hosts([host("c", 8, islands=2)])
    run(apart, "two", whole(2))
    run(apart, "three", whole(3))
    assert uuids(apart, "over both", whole(3)) == ["GPU-c-2", "GPU-c-3", "GPU-c-7"]
    assert not room.could_ever(asked(whole(8, topology=nvlink)))


def test_a_gang_goes_to_the_tightest_domain_that_holds_it_and_that_it_fills_best() -> None:
    racks = [("a", "1", 3), ("b", "1", 2), ("c", "2", 2)]
    hosts = [
        host(f"{zone}{rack}{number}", labels={"zone": zone, "rack": rack})
        for zone, rack, size in racks
        for number in range(size)
    ]
    room = Hosts(hosts)
    assert names(room, room.find(asked(whole(16, 2)))) == ["b10", "b11"]
    assert names(room, room.find(asked(whole(24, 3)))) == ["a10", "a11", "a12"]
    assert {name[0] for name in names(room, room.find(asked(whole(32, 4))))} == {"a", "b"}
    assert room.find(asked(whole(32, 4, topology=TopologyDomain.ZONE))) is None
    assert not room.could_ever(asked(whole(32, 4, topology=TopologyDomain.RACK)))
    assert run(room, "fills b", whole(16, 2)) is not None
    assert names(room, run(room, "c next", whole(16, 2, topology=TopologyDomain.RACK))) == ["c20", "c21"]
    assert names(room, run(room, "one", whole(8))) == ["a10"]
    found = room.find(asked(whole(16, 2, topology=TopologyDomain.RACK)))
    assert found is not None
    assert "rack 1" in found.reason
    bare = Hosts([host("x"), host("y")])
    assert bare.find(asked(whole(16, 2, topology=TopologyDomain.RACK))) is None
    assert bare.find(asked(whole(16, 2))) is not None


def test_a_rack_of_another_zone_is_another_rack() -> None:
    room = Hosts([host(zone, labels={"zone": zone, "rack": "1"}) for zone in "ab"])
    assert room.find(asked(whole(16, 2, topology=TopologyDomain.RACK))) is None


def test_jobs_of_a_team_with_the_same_word_stay_apart() -> None:
    room = Hosts([host("a"), host("b")])
    word = whole(1, anti_affinity="db")
    assert names(room, run(room, "j1", word, "red")) == ["a"]
    assert names(room, run(room, "j2", word, "red")) == ["b"]
    assert run(room, "j3", word, "red") is None
    assert run(room, "j4", word, "blue") is not None
    assert run(room, "j5", replace(word, anti_affinity="web"), "red") is not None
    room.drop(allocation_id("j1"))
    assert names(room, run(room, "j6", word, "red")) == ["a"]


def test_an_exclusive_job_takes_an_empty_host_and_keeps_others_out() -> None:
    room = Hosts([host("a"), host("b", 4), host("c")])
    assert names(room, run(room, "small", whole(1))) == ["b"]
    alone = whole(1, exclusive_nodes=True)
    assert names(room, run(room, "j1", alone)) == ["a"]
    assert names(room, run(room, "j2", alone)) == ["c"]
    assert run(room, "j3", alone) is None
    assert names(room, run(room, "j4", whole(1))) == ["b"]
    assert run(room, "j5", whole(4)) is None
    assert run(room, "j6", ResourceRequest(cpu_milli=1_000)) is not None


def test_a_job_without_gpus_avoids_hosts_with_gpus() -> None:
    room = Hosts([host("gpu"), host("cpu", 0, cores=8)])
    small = ResourceRequest(cpu_milli=6_000)
    assert names(room, run(room, "j1", small)) == ["cpu"]
    assert names(room, run(room, "j2", small)) == ["gpu"]
    found = run(room, "gang", ResourceRequest(cpu_milli=1_000, node_count=2))
    assert found is not None
    assert found.gpu_type == ""


def test_labels_excluded_hosts_cpu_and_memory_are_heeded() -> None:
    room = Hosts([host("a", labels={"zone": "x"}), host("b", labels={"zone": "y"}, cores=8), host("c", memory_gb=64)])
    assert names(room, room.find(asked(whole(1, node_labels=(("zone", "y"),))))) == ["b"]
    assert names(room, room.find(asked(whole(1, exclude_nodes=("a", node_id("b")))))) == ["c"]
    assert names(room, room.find(asked(whole(2, cpu_milli=32_000, exclude_nodes=("a",))))) == ["c"]
    assert names(room, room.find(asked(whole(1, memory_bytes=100 * GB, exclude_nodes=("a",))))) == ["b"]
    assert room.find(asked(whole(1, cpu_milli=65_000))) is None


def test_a_closed_host_keeps_what_it_holds_and_takes_nothing_more() -> None:
    room = Hosts([host("a")])
    run(room, "j1", whole(4))
    room.put_host(host("a", opened=False))
    assert room.find(asked(whole(1))) is None
    assert not room.could_ever(asked(whole(1)))
    room.put_host(host("a"))
    assert room.find(asked(whole(5))) is None
    assert room.find(asked(whole(4))) is not None


def test_what_runs_on_a_host_that_shrank_or_is_not_there_yet_is_known() -> None:
    room = Hosts()
    gone = Claim(
        allocation_id("old"),
        asked(whole(8)).job_id,
        UserId("ada"),
        "",
        JobPriority.NORMAL,
        whole(8, cpu_milli=32_000),
        (Placement(0, node_id("a"), tuple(f"GPU-a-{number}" for number in range(8))),),
        NOW,
    )
    room.put(gone)
    room.put_host(host("a", 4, cores=16))
    assert room.find(asked(whole(1))) is None
    assert room.find(asked(ResourceRequest(cpu_milli=1_000))) is None
    assert [one.job_id for one in room.on_host(node_id("a"))] == [gone.job_id]
    room.adopt(replace(gone, allocation_id=allocation_id("twice")))  # the books say so, so it is so
    room.drop(gone.allocation_id)
    assert room.find(asked(whole(1))) is None
    room.drop(allocation_id("twice"))
    assert room.find(asked(whole(4, cpu_milli=16_000))) is not None


def test_jobs_of_our_own_daemons_stay_away_from_hosts_of_a_sites_engine() -> None:
    room = Hosts([host("theirs", 8, labels={EXECUTOR: "slurm"})])
    plain, named = asked(whole(1)), asked(ResourceRequest(gpu_count=1, node_labels=((EXECUTOR, "slurm"),)))
    assert room.find(plain) is None
    assert not room.could_ever(plain)
    assert "run by slurm" in room.verdicts(plain)[0].reason
    assert room.find(named) is not None
    room.put_host(host("ours", 1))
    assert names(room, room.find(plain)) == ["ours"]


def test_whoever_gets_a_part_that_nobody_enforces_is_told_so() -> None:
    room = Hosts([replace(host("a", 1), enforces_shares=False)])
    found = room.find(asked(part(500)))
    assert found is not None
    assert "nothing on that host holds it to its part" in found.reason


def test_a_history_survives_a_restart_and_forgets_slowly() -> None:
    history = History()
    for number in range(3_000):
        history.note(part(470 if number % 2 else 810, cpu_milli=4_000))
    again = History.load(history.dump())
    again.note(whole(8, 1))
    history.note(whole(8, 1))
    assert again.classes() == history.classes()
    assert again.dump() == history.dump()
    for _ in range(30_000):
        again.note(whole(1))
    parts = sum(one.count for one in again.classes() if one.demand.gpu_milli in (470, 810))
    assert again.classes()[0].demand.gpu_milli == 1_000
    assert again.classes()[0].count > 20 * parts


def test_a_history_is_bounded_and_what_waits_weighs_in_it() -> None:
    history = History()
    for number in range(2_000):
        history.note(whole(1, cpu_milli=500 * number))
    assert len(history.classes()) <= 520
    assert history.classes([part(330)] * 50)[0].demand.gpu_milli == 330
    assert len(history.classes(whole(2, 1, cpu_milli=500 * number) for number in range(2_000))) <= 600


def test_what_waits_decides_which_host_is_left_whole() -> None:
    """Jobs that wait for something else than room, say for their team's limit, find their four GPUs together later."""
    for waits, host_name in ((0, "wide"), (20, "small")):
        room = Hosts([host("small", 2, cores=32), host("wide", 4, cores=16)])
        room.expect(lambda waits=waits: [whole(4, 1)] * waits)  # type: ignore[misc] # one that takes nothing
        assert names(room, run(room, "new", whole(1, 1, cpu_milli=1_000))) == [host_name]
        assert (room.find(asked(whole(4, 1))) is not None) == bool(waits)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"version": 2},
        {"version": 1, "noted": 1, "unit": 0, "classes": []},
        {"version": 1, "noted": -1, "unit": 1, "classes": []},
        {"version": 1, "noted": 1, "unit": 1, "classes": [[0, 1, 1_001, [], 1.0]]},
        {"version": 1, "noted": 1, "unit": 1, "classes": [[0, 1]]},
        {"version": 1, "noted": 1, "unit": 1, "classes": [[0, 1, 1_000, [5], 1.0]]},
        {"version": 1, "noted": 1, "unit": 1, "classes": [[0, 1, 1_000, [], float("nan")]]},
    ],
    ids=["empty", "version", "unit", "count", "share", "short", "model", "weight"],
)
def test_a_broken_history_is_told(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="begin an empty"):
        History.load(broken)
