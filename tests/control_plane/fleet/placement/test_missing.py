"""What is told of a job for which there is no room."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.missing import Lack
from control_plane.fleet.placement.room import Host
from control_plane.model.job import ResourceRequest, TopologyDomain
from tests.control_plane.fleet.placement.placement_cases import GB, asked, fleets, host, names, requests, run, slots
from tests.control_plane.fleet.placement.test_hosts_properties import fill, queues

H100 = ("H100",)


def fleet() -> Hosts:
    """Two hosts of H100 in one rack of two zones, one of A100 that one job has for itself, one without, one closed."""
    room = Hosts(
        [
            host("a", labels={"zone": "x", "rack": "1"}),
            host("b", labels={"zone": "y", "rack": "1"}, cores=16),
            host("c", 4, "A100", shares=False),
            host("d", 0),
            host("e", 8, opened=False),
        ]
    )
    run(room, "six", ResourceRequest(gpu_count=6, exclude_nodes=("a",), gpu_types=H100), "red")
    run(room, "part", ResourceRequest(gpu_count=1, gpu_milli=700, exclude_nodes=("a",), gpu_types=H100))
    run(room, "alone", ResourceRequest(gpu_count=1, exclusive_nodes=True, gpu_types=("A100",)))
    return room


@pytest.mark.parametrize(
    ("request_", "lack", "text", "helps"),
    [
        (ResourceRequest(gpu_count=1), Lack.NOTHING, "there is room", ()),
        (
            ResourceRequest(gpu_types=H100, gpu_count=16, node_count=2),
            Lack.IN_USE,
            "9 of 16 H100 free; the fleet has 16",
            (),
        ),
        (
            ResourceRequest(gpu_types=("A100",), gpu_count=1),
            Lack.IN_USE,
            "0 of 1 A100 free; the fleet has 4",
            ("take another model: H100 is free",),
        ),
        (
            ResourceRequest(gpu_count=2, node_count=1, gpu_types=H100, exclude_nodes=("a",), cpu_milli=1_000),
            Lack.IN_USE,
            "1 of 2 H100 free; the fleet has 8",
            ("leave out no hosts",),
        ),
        (
            ResourceRequest(gpu_count=9, node_count=3, gpu_types=H100),
            Lack.NEVER,
            "even an empty fleet has no room for it on 3 hosts",
            (),
        ),
        (
            ResourceRequest(gpu_types=("B200",), gpu_count=1),
            Lack.NEVER,
            "no open host has B200",
            ("take another model",),
        ),
        (
            ResourceRequest(gpu_count=1, node_labels=(("zone", "z"),)),
            Lack.NEVER,
            "no host that it may use has GPUs",
            ("ask for no label of its hosts",),
        ),
        (
            ResourceRequest(gpu_types=H100, gpu_count=2, node_count=2, topology=TopologyDomain.ZONE),
            Lack.NEVER,
            "no host of the fleet could hold it in one zone",
            ("let its GPUs be further apart: leave its topology open", "leave open on how many hosts it runs"),
        ),
        (
            ResourceRequest(gpu_types=("A100",), gpu_count=1, gpu_milli=500),
            Lack.NEVER,
            "no host of the fleet could hold it: none of those with A100 shares its GPUs",
            ("take another model", "take a whole GPU"),
        ),
        (
            ResourceRequest(cpu_milli=100_000),
            Lack.NEVER,
            "no host of the fleet could hold it: too few hosts have 100 cores",
            ("ask for less CPU or memory on each host",),
        ),
        (
            ResourceRequest(gpu_types=H100, gpu_count=32, node_count=4),
            Lack.NEVER,
            "it needs 32 H100, and the fleet has 16",
            (),
        ),
    ],
    ids=["room", "used", "held", "left_out", "hosts", "model", "label", "zone", "shares", "cores", "size"],
)
def test_what_is_missing_is_told_with_figures(
    request_: ResourceRequest, lack: Lack, text: str, helps: tuple[str, ...]
) -> None:
    found = fleet().missing(asked(request_, "q"))
    assert (found.lack, found.text) == (lack, text)
    assert set(helps) <= set(found.would_help)


def test_enough_in_pieces_is_told_from_too_little() -> None:
    room = Hosts([host(f"h{number}") for number in range(3)])
    for number in range(3):
        run(room, f"j{number}", ResourceRequest(gpu_count=5, anti_affinity="w"), "red")
    one = room.missing(asked(ResourceRequest(gpu_count=8, node_count=1)))
    assert (one.lack, one.wanted, one.free, one.total) == (Lack.IN_PIECES, 8, 9, 24)
    assert one.text == "9 GPUs are free, but at most 3 of 8 on one host"
    gang = room.missing(asked(ResourceRequest(gpu_count=8, node_count=2)))
    assert (gang.lack, gang.text) == (Lack.IN_PIECES, "0 of 2 hosts have 4 GPUs free")
    assert gang.would_help == ()
    cores = room.missing(asked(ResourceRequest(gpu_count=1, cpu_milli=64_000)))
    assert cores.lack is Lack.NOTHING
    run(room, "cores", ResourceRequest(cpu_milli=1_000, node_count=3))
    cores = room.missing(asked(ResourceRequest(gpu_count=1, cpu_milli=64_000)))
    assert (cores.lack, cores.text) == (
        Lack.CPU_OR_MEMORY,
        "too few hosts have 64 cores free beside the 1 GPU that it asks for",
    )
    apart = room.missing(asked(ResourceRequest(gpu_count=1, anti_affinity="w"), team="red"))
    assert apart.lack is Lack.IN_USE
    assert apart.would_help == ("let it run beside jobs like it",)


def test_parts_of_gpus_are_told_by_the_largest_that_is_free() -> None:
    room = Hosts([host("p", 2)])
    run(room, "a", ResourceRequest(gpu_count=1, gpu_milli=600))
    run(room, "b", ResourceRequest(gpu_count=1, gpu_milli=600))
    found = room.missing(asked(ResourceRequest(gpu_count=1, gpu_milli=500)))
    assert (found.lack, found.text) == (Lack.IN_PIECES, "50 % of one GPU is on none of 2 free: at most 40 %")
    never = room.missing(asked(ResourceRequest(gpu_count=1, gpu_milli=500, share_memory_bytes=90 * GB)))
    assert never.text == "no host of the fleet could hold it: no GPU has 90 GB"
    assert Hosts().missing(asked(ResourceRequest(gpu_count=1))).text == "no host takes jobs; see: orquanta node list"


def test_hosts_are_compared_best_first_each_with_what_it_lacks() -> None:
    room = fleet()
    found = {one.name: one.reason for one in room.verdicts(asked(ResourceRequest(gpu_types=H100, gpu_count=4), "q"))}
    assert list(found) == ["a", "b", "d", "e", "c"]
    assert found["a"] == "fits: 8 such GPUs free, 4 wanted"
    assert found["b"] == "1 of 4 H100 free"
    assert found["d"] == "has no H100"
    assert found["e"] == "takes no jobs now"
    assert found["c"].startswith("exclusively held by j-")
    label = room.verdicts(asked(ResourceRequest(gpu_count=1, gpu_milli=500, node_labels=(("zone", "x"),))), limit=2)
    assert [(one.name, one.fits) for one in label] == [("a", True), ("e", False)]
    shares = {one.name: one.reason for one in room.verdicts(asked(ResourceRequest(gpu_count=1, gpu_milli=500)))}
    assert shares["c"].endswith("shares no GPUs")
    mig = room.verdicts(asked(ResourceRequest(gpu_count=1, mig_profile="1g.10gb")))
    assert {one.reason for one in mig} == {"has no MIG 1g.10gb"}


def test_verdicts_name_islands_neighbours_cores_and_memory() -> None:
    room = Hosts([host("a", 8, islands=2, extra=slots("a", 1, "A100", first=8))])
    run(room, "one", ResourceRequest(gpu_count=2, anti_affinity="w"), "red")
    run(room, "two", ResourceRequest(gpu_count=2, cpu_milli=60_000, memory_bytes=500 * GB))

    def reason(request: ResourceRequest) -> str:
        return room.verdicts(asked(request, "q", "red"))[0].reason

    near = ResourceRequest(gpu_count=5, topology=TopologyDomain.NVLINK)
    assert reason(near) == "4 of 5 GPUs free in one NVLink island"
    assert reason(ResourceRequest(gpu_count=1, anti_affinity="w")).startswith("must not be beside j-")
    assert reason(ResourceRequest(gpu_count=1, cpu_milli=8_000)) == "4 of 8 cores free"
    assert reason(ResourceRequest(memory_bytes=100 * GB)) == "12 of 100 GB of memory free"
    assert reason(ResourceRequest(gpu_count=1, exclusive_nodes=True)).startswith("2 jobs run there")


@settings(max_examples=80, deadline=None)
@given(fleet=fleets(), queue=queues, wanted=requests())
def test_verdicts_and_what_is_missing_agree_with_what_is_found(
    fleet: list[Host], queue: list[tuple[ResourceRequest, str]], wanted: ResourceRequest
) -> None:
    room = Hosts(fleet)
    fill(room, queue)
    one = asked(wanted, "q", "red")
    found, missing = room.find(one), room.missing(one)
    assert (missing.lack is Lack.NOTHING) == (found is not None)
    assert (missing.lack is Lack.NEVER) == (not room.could_ever(one))
    assert missing.text
    verdicts = room.verdicts(one, limit=100)
    assert sorted(each.name for each in verdicts) == sorted(each.name for each in fleet)
    assert all(each.reason.startswith("fits") == each.fits for each in verdicts)
    assert [each.fits for each in verdicts] == sorted((each.fits for each in verdicts), reverse=True)
    if found is not None:
        assert set(names(room, found)) <= {each.name for each in verdicts if each.fits}
    if wanted.node_count == 1 and any(each.fits for each in verdicts):
        assert found is not None
    assert room.verdicts(one, limit=1) == verdicts[:1]
    for text in missing.would_help:
        assert text
    assert room.missing(replace(one, resources=wanted)) == missing
