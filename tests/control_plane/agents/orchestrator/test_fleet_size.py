"""What the fleet lacks for a plan, told before anything waits for it in vain."""

import pytest

from control_plane.agents.orchestrator.fleet_size import FleetSize, shortfalls
from control_plane.model.plan import GpuRequest, Intent, Plan, PlannedJob
from control_plane.store import fleet_shapes
from control_plane.store.fleet_shapes import HostShape
from tests.control_plane.world import World

GB = 10**9
SHAPES: dict[HostShape, int] = {(("H100", 80 * GB, 8),): 2, (("L4", 24 * GB, 4),): 1}


def job(**gpu: object) -> PlannedJob:
    return PlannedJob("train", Intent.TRAIN, GpuRequest(**gpu))  # type: ignore[arg-type] # fields by name


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (job(gpu_type="H100", count=16), ""),
        (job(count=4), ""),
        (job(gpu_type="H100", count=64), "it has 16 H100, and 64 are asked for"),
        (job(gpu_type="H200", count=1), "The fleet has no H200 now; it has 16 H100, 4 L4."),
        (job(gpu_type="H200", alternative_types=("H100",), count=8), ""),
        (job(count=20), "it has 16 GPU, and 20 are asked for"),
        (job(count=1, exclude_types=("H100", "L4")), "The fleet has no GPU now"),
        (job(count=1, min_memory_bytes=100 * GB), "The fleet has no GPU with 100 GB now"),
        (job(gpu_type="H100", count=16, nodes=2), ""),
        (job(gpu_type="H100", count=12, nodes=3), "Only 2 of 3 hosts in the fleet have 4 H100 now"),
    ],
)
def test_what_the_fleet_lacks_is_told_and_nothing_where_it_is_large_enough(wanted: PlannedJob, told: str) -> None:
    found = shortfalls([wanted, wanted], SHAPES)
    assert len(found) == bool(told)
    assert told in "".join(found)


def test_an_empty_fleet_says_how_a_host_joins() -> None:
    (told,) = shortfalls([job(count=1)], {})
    assert "orquanta node token create" in told


async def test_what_is_too_small_is_read_anew_and_what_is_large_enough_is_remembered(any_world: World) -> None:
    size = FleetSize(any_world.store, any_world.clock)
    plan = Plan(Intent.TRAIN, "train", (job(gpu_type="H100", count=8),))
    assert "No host has joined" in (await size.noted(plan)).notes[0]
    await any_world.node("alpha")
    assert (await size.noted(plan)).notes == ()
    assert await any_world.store.read(fleet_shapes.read) == {(("H100", 80 * GB, 8),): 1}
    assert (await size.noted(Plan(Intent.QUERY, "query"))).notes == ()
