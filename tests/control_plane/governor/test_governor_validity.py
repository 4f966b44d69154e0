"""Jobs and placements that make no sense are denied and reserve nothing."""

import pytest

from control_plane.model.action import (
    Action,
    ActionState,
    PlaceJob,
    Placement,
)
from tests.control_plane.world import World, job_id, spec


def reasons(action: Action) -> str:
    return " ".join(action.decision)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (spec("bad", seconds=-3600), "RUNTIME"),
        (spec("bad", seconds=10**10), "RUNTIME"),
        (spec("bad", gpu=-1), "GPU_COUNT"),
        (spec("bad", gpu=3, nodes=2), "NODE_COUNT"),
        (spec("bad", gpu=0, nodes=10**6), "NODE_COUNT"),
        (spec("bad", memory_bytes=-1), "RESOURCES"),
        (spec("bad", types=("H100",), exclude_gpu_types=("H100",)), "GPU_TYPES"),
        (spec("bad", needs=(job_id("nowhere"),)), "DEPENDENCY_UNKNOWN"),
    ],
)
async def test_a_job_that_makes_no_sense_is_denied_and_reserves_nothing(world: World, bad: object, reason: str) -> None:
    user = await world.user(budget_usd=10_000_000_000)
    action = await world.launch(user, bad)  # type: ignore[arg-type] # parametrize gives objects
    assert action.state is ActionState.DENIED
    assert reason in reasons(action)
    assert (await world.account(user)).reserved_usd == 0


async def test_a_job_cannot_wait_for_one_that_has_failed(world: World) -> None:
    user = await world.user()
    await world.launch(user, spec("a"))
    await world.stop("a", user)
    action = await world.launch(user, spec("b", needs=(job_id("a"),)))
    assert action.state is ActionState.DENIED
    assert "DEPENDENCY_ENDED" in reasons(action)


async def test_a_job_cannot_wait_for_somebody_elses(world: World) -> None:
    user, other = await world.user(), await world.user("eve")
    await world.launch(user, spec("a"))
    action = await world.launch(other, spec("b", needs=(job_id("a"),)))
    assert action.state is ActionState.DENIED
    assert "DEPENDENCY_UNKNOWN" in reasons(action)


async def test_a_placement_must_be_what_the_job_asked_for(world: World) -> None:
    user = await world.user()
    alpha, beta = await world.node("alpha"), await world.node("beta")
    other = await world.node("gamma", gpu_type="A100", memory_gb=40)
    await world.launch(
        user,
        spec("h100"),
        spec("spread", gpu=4, nodes=2),
        spec("large", types=(), min_gpu_memory_bytes=60 * 10**9),
        spec("picky", types=(), exclude_gpu_types=("A100",)),
        spec("cpu", gpu=0),
    )
    refused = {
        "another model": await world.place("h100", (other, [0]), gpu_type="A100"),
        "too many": await world.place("h100", (alpha, [0, 1])),
        "one node instead of two": await world.place("spread", (alpha, [0, 1, 2, 3])),
        "uneven": await world.place("spread", (alpha, [0, 1, 2]), (beta, [0])),
        "twice the same GPU": await world.place("spread", (alpha, [0, 0]), (beta, [0, 1])),
        "too small": await world.place("large", (other, [0]), gpu_type="A100"),
        "excluded": await world.place("picky", (other, [0]), gpu_type="A100"),
        "a price for no GPU": await world.place("cpu", (alpha, [])),
    }
    assert {what: action.state for what, action in refused.items()} == dict.fromkeys(refused, ActionState.DENIED)
    assert await world.held() == set()


async def test_ranks_are_numbered_from_zero(world: World) -> None:
    user, alpha, beta = await world.user(), await world.node("alpha"), await world.node("beta")
    await world.launch(user, spec("spread", gpu=2, nodes=2))
    placements = tuple(Placement(0, node.id, (f"GPU-{node.name}-0",)) for node in (alpha, beta))
    action = await world.propose(PlaceJob(job_id("spread"), 1, "H100", placements, "twice rank 0"))
    assert action.state is ActionState.DENIED
