"""Small fleets, requests and claims: by hand and drawn by hypothesis."""

from collections.abc import Mapping
from datetime import UTC, datetime

from hypothesis import strategies as st

from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.room import Asked, Claim, Found, GpuSlot, Host
from control_plane.model.ids import ALLOCATION, JOB, NODE, AllocationId, NodeId, UserId, derived_id
from control_plane.model.job import JobPriority, ResourceRequest, TopologyDomain

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
GB = 10**9
MEMORY_GB = {"A100": 40, "H100": 80, "H200": 141}


def node_id(name: str) -> NodeId:
    return derived_id(NODE, name)


def allocation_id(name: str) -> AllocationId:
    return derived_id(ALLOCATION, name)


def slots(
    name: str, number: int, gpu_type: str = "H100", *, islands: int = 1, first: int = 0, profile: str = ""
) -> tuple[GpuSlot, ...]:
    size = -(-number // islands) if number else 1
    memory = 10 * GB if profile else MEMORY_GB[gpu_type] * GB
    return tuple(
        GpuSlot(f"GPU-{name}-{first + one}", first + one, gpu_type, memory, one // size, profile)
        for one in range(number)
    )


def host(
    name: str,
    number: int = 8,
    gpu_type: str = "H100",
    *,
    islands: int = 1,
    cores: int = 64,
    memory_gb: int = 512,
    labels: Mapping[str, str] | None = None,
    opened: bool = True,
    shares: bool = True,
    extra: tuple[GpuSlot, ...] = (),
) -> Host:
    return Host(
        node_id(name),
        name,
        slots(name, number, gpu_type, islands=islands) + extra,
        cores * 1_000,
        memory_gb * GB,
        labels or {},
        opened,
        shares,
    )


def asked(request: ResourceRequest, name: str = "job", team: str = "") -> Asked:
    return Asked(derived_id(JOB, name), team, request)


def claim(name: str, one: Asked, found: Found) -> Claim:
    return Claim(
        allocation_id(name),
        one.job_id,
        UserId("ada"),
        one.team,
        JobPriority.NORMAL,
        one.resources,
        found.placements,
        NOW,
    )


def run(room: Hosts, name: str, request: ResourceRequest, team: str = "") -> Found | None:
    """Place a job where it fits best, if it fits."""
    one = asked(request, name, team)
    found = room.find(one)
    if found is not None:
        room.put(claim(name, one, found))
    return found


def names(room: Hosts, found: Found | None) -> list[str]:
    assert found is not None
    hosts = [room.host(one.node_id) for one in found.placements]
    return [one.name for one in hosts if one is not None]


@st.composite
def fleets(draw: st.DrawFn) -> list[Host]:
    found = []
    for number in range(draw(st.integers(1, 6))):
        name = f"h{number}"
        size = draw(st.sampled_from([0, 1, 2, 4, 8]))
        extra: tuple[GpuSlot, ...] = ()
        match draw(st.sampled_from(["", "", "", "mixed", "mig"])):
            case "mixed":
                extra = slots(name, draw(st.integers(1, 4)), "A100", first=size)
            case "mig":
                extra = slots(name, draw(st.integers(1, 7)), "H100", first=size, profile="1g.10gb")
        labels = {key: value for key in ("rack", "zone") if (value := draw(st.sampled_from(["", "a", "b"])))}
        found.append(
            host(
                name,
                size,
                draw(st.sampled_from(sorted(MEMORY_GB))),
                islands=draw(st.sampled_from([1, 1, 2])),
                cores=draw(st.sampled_from([8, 64])),
                memory_gb=draw(st.sampled_from([64, 512])),
                labels=labels,
                opened=draw(st.sampled_from([True, True, True, False])),
                shares=draw(st.sampled_from([True, True, False])),
                extra=extra,
            )
        )
    return found


@st.composite
def requests(draw: st.DrawFn) -> ResourceRequest:
    nodes = draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
    kind = draw(st.sampled_from(["whole", "whole", "whole", "share", "mig", "none"]))
    count = {"none": 0, "share": 1}.get(kind, draw(st.sampled_from([1, 2, 3, 4, 8])) * max(nodes, 1))
    sized = kind in {"whole", "share"}
    return ResourceRequest(
        gpu_types=tuple(draw(st.lists(st.sampled_from(sorted(MEMORY_GB)), max_size=2, unique=True))) if sized else (),
        gpu_count=count,
        node_count=min(nodes, 1) if kind == "share" else nodes,
        min_gpu_memory_bytes=draw(st.sampled_from([0, 0, 60 * GB])) if sized else 0,
        exclude_gpu_types=draw(st.sampled_from([(), (), ("H200",)])) if sized else (),
        cpu_milli=draw(st.sampled_from([0, 1_000, 6_000, 40_000])),
        memory_bytes=draw(st.sampled_from([0, 10 * GB, 300 * GB])),
        gpu_milli=draw(st.sampled_from([100, 333, 500, 810])) if kind == "share" else 0,
        share_memory_bytes=draw(st.sampled_from([0, 0, 30 * GB])) if kind == "share" else 0,
        mig_profile="1g.10gb" if kind == "mig" else "",
        node_labels=draw(st.sampled_from([(), (), (), (("zone", "a"),)])),
        exclude_nodes=draw(st.sampled_from([(), (), ("h0",), (node_id("h1"),)])),
        anti_affinity=draw(st.sampled_from(["", "", "word"])),
        exclusive_nodes=draw(st.sampled_from([False, False, False, True])),
        topology=draw(st.sampled_from([TopologyDomain.ANY, TopologyDomain.ANY, *TopologyDomain])),
    )
