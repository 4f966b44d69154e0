"""What is told of a job for which there is no room."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.room import Host, Lack
from control_plane.model.job import ResourceRequest, TopologyDomain
from tests.control_plane.fleet.placement.placement_cases import (
    GB,
    asked,
    fleets,
    host,
    names,
    requests,
    run,
    slots,
)
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


R = ResourceRequest
ANOTHER_MODEL = "take another model too (another --gpu-type)"
FEWER_CORES = "ask for less CPU or memory on each host (smaller --cpus, --memory)"
TOLD: dict[str, tuple[ResourceRequest, Lack, str, tuple[str, ...]]] = {
    "room": (R(gpu_count=1), Lack.NOTHING, "there is room for it", ()),
    "used": (
        R(gpu_types=H100, gpu_count=16, node_count=2),
        Lack.IN_USE,
        "it needs 8 H100 on each of 2 hosts, and 9 of 16 are free",
        (),
    ),
    "held": (
        R(gpu_types=("A100",), gpu_count=1),
        Lack.IN_USE,
        "it needs 1 A100, and 0 of 4 are free; 3 others are idle on a host that one job has to itself",
        (f"{ANOTHER_MODEL}: H100 is free",),
    ),
    "left_out": (
        R(gpu_count=2, node_count=1, gpu_types=H100, exclude_nodes=("a",), cpu_milli=1_000),
        Lack.IN_USE,
        "it needs 2 H100 on one host, and 1 of 8 on the hosts that it may use is free",
        ("leave out fewer hosts (fewer --not-on)",),
    ),
    "to_itself": (
        R(gpu_count=1, exclusive_nodes=True, gpu_types=H100, exclude_nodes=("a",)),
        Lack.IN_USE,
        "it wants its hosts to itself, and too few that would do are empty",
        ("leave out fewer hosts (fewer --not-on)", "let it share its hosts with other jobs (without --exclusive)"),
    ),
    "cores_of_hosts": (
        R(cpu_milli=64_000, node_count=3),
        Lack.CPU_OR_MEMORY,
        "it needs 64 cores on each of 3 hosts, and 2 have that free",
        (FEWER_CORES,),
    ),
    "hosts": (
        R(gpu_count=9, node_count=3, gpu_types=H100),
        Lack.NEVER,
        "fewer than 3 hosts could hold a part of it, even empty",
        (),
    ),
    "model": (
        R(gpu_types=("B200",), gpu_count=1),
        Lack.NEVER,
        "no host in service has B200; there are 16 H100, 4 A100",
        (f"{ANOTHER_MODEL}: there are 16 H100, 4 A100",),
    ),
    "profile": (R(gpu_count=2, mig_profile="1g.10gb"), Lack.NEVER, "no host in service has MIG 1g.10gb", ()),
    "memory": (
        R(gpu_count=1, min_gpu_memory_bytes=100 * GB),
        Lack.NEVER,
        "no host in service has GPUs with 100 GB; there are 16 H100 with 80 GB, 4 A100 with 40 GB",
        ("ask for less GPU memory (a smaller --gpu-memory): there are 16 H100 with 80 GB, 4 A100 with 40 GB",),
    ),
    "label": (
        R(gpu_count=1, node_labels=(("zone", "z"),)),
        Lack.NEVER,
        "no host in service has the label zone=z",
        ("leave out the label zone=z (without --label)",),
    ),
    "engine": (
        R(gpu_count=1, node_labels=((EXECUTOR, "slurm"),)),
        Lack.NEVER,
        "no host in service has its jobs run by slurm",
        (),
    ),
    "all_left_out": (
        R(gpu_count=1, exclude_nodes=("a", "b", "c", "d", "e")),
        Lack.NEVER,
        "it leaves out every host in service that it could use",
        ("leave out fewer hosts (fewer --not-on)",),
    ),
    "zone": (
        R(gpu_types=H100, gpu_count=2, node_count=2, topology=TopologyDomain.ZONE),
        Lack.NEVER,
        "no zone could hold 1 H100 on each of 2 hosts, even empty",
        (
            "let its GPUs be further apart (without --near)",
            "leave open on how many hosts it runs (without --nodes)",
        ),
    ),
    "shares": (
        R(gpu_types=("A100",), gpu_count=1, gpu_milli=500),
        Lack.NEVER,
        "no host with A100 lets jobs share a GPU",
        (f"{ANOTHER_MODEL}: there are 16 H100, 4 A100", "take a whole GPU (--gpus 1, without --gpu-share)"),
    ),
    "cores": (R(cpu_milli=100_000), Lack.NEVER, "no host has 100 cores, even empty", (FEWER_CORES,)),
    "cores_beside": (
        R(gpu_count=2, gpu_types=H100, node_count=2, cpu_milli=20_000),
        Lack.NEVER,
        "fewer than 2 hosts have 1 H100 and 20 cores, even empty",
        ("leave open on how many hosts it runs (without --nodes)", FEWER_CORES),
    ),
    "size": (
        R(gpu_types=H100, gpu_count=32, node_count=4),
        Lack.NEVER,
        "it needs 8 H100 on each of 4 hosts, and the fleet has 16",
        (),
    ),
    "one_host": (
        R(gpu_types=H100, gpu_count=12, topology=TopologyDomain.NODE),
        Lack.NEVER,
        "it needs 12 H100 on one host, and no host in service has more than 8",
        ("let its GPUs be further apart (without --near)",),
    ),
}


@pytest.mark.parametrize(("request_", "lack", "text", "helps"), TOLD.values(), ids=TOLD.keys())
def test_what_is_missing_is_told_with_figures(
    request_: ResourceRequest, lack: Lack, text: str, helps: tuple[str, ...]
) -> None:
    found = fleet().missing(asked(request_, "q"))
    assert (found.lack, found.text) == (lack, text)
    assert found.would_help == helps


def test_enough_in_pieces_is_told_from_too_little() -> None:
    room = Hosts([host(f"h{number}") for number in range(3)])
    for number in range(3):
        run(room, f"j{number}", ResourceRequest(gpu_count=5, anti_affinity="w"), "red")
    one = room.missing(asked(ResourceRequest(gpu_count=8, node_count=1)))
    assert (one.lack, one.wanted, one.free, one.total) == (Lack.IN_PIECES, 8, 9, 24)
    assert one.text == "9 GPUs are free, at most 3 on one host (h0); it needs 8 on one host"
    gang = room.missing(asked(ResourceRequest(gpu_count=8, node_count=2)))
    assert (gang.lack, gang.text) == (
        Lack.IN_PIECES,
        "it needs 4 GPUs on each of 2 hosts, and 0 hosts have that many free; 9 are free in all",
    )
    assert gang.would_help == ()
    cores = room.missing(asked(ResourceRequest(gpu_count=1, cpu_milli=64_000)))
    assert cores.lack is Lack.NOTHING
    run(room, "cores", ResourceRequest(cpu_milli=1_000, node_count=3))
    cores = room.missing(asked(ResourceRequest(gpu_count=1, cpu_milli=64_000)))
    assert (cores.lack, cores.text) == (
        Lack.CPU_OR_MEMORY,
        "no host with enough free GPUs has 64 cores free beside them",
    )
    assert (
        room.missing(asked(ResourceRequest(cpu_milli=64_000))).text == "no host has 64 cores free; at most 63 are (h0)"
    )
    apart = room.missing(asked(ResourceRequest(gpu_count=1, anti_affinity="w"), team="red"))
    assert apart.lack is Lack.IN_USE
    assert apart.would_help == ("let it run beside your team's jobs of the same word (without --apart)",)


def test_a_job_that_wants_a_part_is_told_of_gpus_on_hosts_that_others_have_to_themselves() -> None:
    unshared = replace(host("c", 2), shares=False)
    room = Hosts([host("a", 1), host("b", 3), unshared])
    alone = ResourceRequest(gpu_count=1, exclusive_nodes=True, gpu_types=H100)
    for name, others in (("b", ("a", "c")), ("c", ("a", "b"))):
        run(room, f"alone-{name}", replace(alone, exclude_nodes=others))
    run(room, "part", ResourceRequest(gpu_count=1, gpu_milli=700, gpu_types=H100))
    half = ResourceRequest(gpu_count=1, gpu_milli=500, gpu_types=H100)
    beside = "; 2 others could take it on a host that one job has to itself"
    assert room.missing(asked(half)).text == f"no H100 has 50 % free; at most 30 % of one is{beside}"
    memory = room.missing(asked(replace(half, gpu_milli=200, share_memory_bytes=80 * 10**9))).text
    assert memory.endswith(f"GB of its memory free{beside}")
    assert room.missing(asked(replace(half, exclude_nodes=("b",)))).text.endswith("at most 30 % of one is")


def test_idle_gpus_of_hosts_that_jobs_have_to_themselves_are_told_of_the_model_that_is_counted() -> None:
    room = Hosts([host("a", 4), host("b", 2), host("c", 2), host("d", 8, "A100")])
    whole = ResourceRequest(gpu_count=1, exclusive_nodes=True, gpu_types=H100)
    run(room, "used", ResourceRequest(gpu_count=8, gpu_types=("A100",)))
    asks = asked(ResourceRequest(gpu_count=4, gpu_types=(*H100, "A100"), exclude_nodes=("a",)))
    run(room, "one", replace(whole, exclude_nodes=("a", "b", "d")))
    assert room.missing(asks).text.endswith(
        " 2 of 4 on the hosts that it may use are free; 1 other is idle on a host that one job has to itself"
    )
    run(room, "two", replace(whole, exclude_nodes=("a", "c", "d")))
    assert room.missing(asks).text == "it needs 4 H100 or A100, and 0 of 8 on the hosts that it may use are free"
    of_one_model = replace(asks, resources=replace(asks.resources, gpu_types=H100))
    assert room.missing(of_one_model).text == (
        "it needs 4 H100, and 0 of 4 on the hosts that it may use are free; "
        "2 others are idle on 2 hosts that one job each has to itself"
    )


def test_parts_of_gpus_are_told_by_the_largest_that_is_free() -> None:
    room = Hosts([host("p", 2)])
    run(room, "a", ResourceRequest(gpu_count=1, gpu_milli=600))
    run(room, "b", ResourceRequest(gpu_count=1, gpu_milli=600))
    found = room.missing(asked(ResourceRequest(gpu_count=1, gpu_milli=500)))
    assert (found.lack, found.text) == (Lack.IN_PIECES, "no GPU has 50 % free; at most 40 % of one is")
    never = room.missing(asked(ResourceRequest(gpu_count=1, gpu_milli=500, share_memory_bytes=90 * GB)))
    assert never.text == "no GPU has 90 GB of memory"
    assert Hosts().missing(asked(ResourceRequest(gpu_count=1))).text == "no host is in service"


def test_hosts_are_compared_best_first_each_with_what_it_lacks() -> None:
    room = fleet()
    found = {one.name: one.reason for one in room.verdicts(asked(ResourceRequest(gpu_types=H100, gpu_count=4), "q"))}
    assert list(found) == ["a", "b", "d", "e", "c"]
    assert found["a"] == "fits: 8 such GPUs free, 4 wanted"
    assert found["b"] == "1 H100 free, 4 wanted"
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
    assert reason(near) == "4 GPUs free in one NVLink island, 5 wanted"
    assert reason(ResourceRequest(gpu_count=1, anti_affinity="w")).startswith("must not be beside j-")
    assert reason(ResourceRequest(gpu_count=1, cpu_milli=8_000)) == "4 cores free, 8 wanted"
    assert reason(ResourceRequest(memory_bytes=100 * GB)) == "12 GB of memory free, 100 wanted"
    assert reason(ResourceRequest(gpu_count=1, exclusive_nodes=True)).startswith("2 jobs run there")
    alone = Hosts([host("b", 8)])
    run(alone, "one", ResourceRequest(gpu_count=1))
    (told,) = alone.verdicts(asked(ResourceRequest(gpu_count=1, exclusive_nodes=True), "q", "red"))
    assert told.reason.startswith("a job runs there, and")


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


@pytest.mark.parametrize("models", [("A100", "H100"), ("H100", "A100")], ids="-".join)
def test_hosts_with_room_for_a_part_of_a_gang_are_counted_of_the_model_whose_gpus_are_told_to_be_free(
    models: tuple[str, str],
) -> None:
    full, free = models
    room = Hosts([host("a", 4, full), host("b", 4, full), host("c", 4, free), host("d", 4, free), host("e", 4, free)])
    for number in range(2):
        run(room, f"full{number}", R(gpu_count=4, gpu_types=(full,)))
        run(room, f"half{number}", R(gpu_count=2, gpu_types=(free,), anti_affinity="x"))
    found = room.missing(asked(R(gpu_count=6, node_count=2)))
    assert found.lack is Lack.IN_PIECES
    assert found.text == "it needs 3 GPUs on each of 2 hosts, and 1 host has that many free; 8 are free in all"
