"""Every constraint of a placement is checked again as things are, whoever proposes it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from control_plane.model.action import Action, ActionState, PlaceJob, Placement
from control_plane.model.job import JobSpec, TopologyDomain
from control_plane.model.node import GpuInventory, MigDevice, Node
from control_plane.model.team import Team
from control_plane.store import nodes, teams, users
from tests.control_plane.world import GB, World, gpus, job_id, spec


def asks(name: str = "train", *, gpu: int = 1, nodes: int = 0, **resources: Any) -> JobSpec:  # Any: fields by name
    made = spec(name, gpu=gpu, nodes=nodes)
    return replace(made, resources=replace(made.resources, **resources))


def reason(action: Action) -> str:
    """The code of what stood in the way, empty if it was done."""
    if action.state is ActionState.DONE:
        return ""
    return next(line.split("(")[1].split(")")[0] for line in action.decision if line.startswith("denied"))


async def launched(world: World, *specs: JobSpec) -> None:
    user = await world.user()
    for one in specs:
        assert (await world.launch(user, one)).state is ActionState.DONE


async def place(world: World, name: str, *where: tuple[Node, Sequence[str]]) -> str:
    job = await world.job(name)
    placements = tuple(Placement(rank, node.id, tuple(uuids)) for rank, (node, uuids) in enumerate(where))
    return reason(await world.propose(PlaceJob(job.id, job.epoch + 1, "H100", placements, "a test wants it")))


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"node_labels": (("pool", "a"),)}, ""),
        ({"node_labels": (("pool", "b"),)}, "NODE_LABELS"),
        ({"exclude_nodes": ("beta",)}, ""),
        ({"exclude_nodes": ("alpha",)}, "NODE_EXCLUDED"),
        ({"mig_profile": "1g.10gb"}, "MIG_PROFILE"),
        ({"min_gpu_memory_bytes": 81 * GB}, "GPU_MEMORY"),
        ({"memory_bytes": 513 * GB}, "STALE"),
    ],
    ids=["label", "other-label", "not-there", "excluded", "mig", "memory", "host-memory"],
)
async def test_a_node_must_be_as_the_job_wants_it(world: World, needs: dict[str, Any], expected: str) -> None:
    node = await world.node(labels={"pool": "a"})
    await launched(world, asks(**needs))
    assert await place(world, "train", (node, ["GPU-alpha-0"])) == expected


async def test_hosts_of_a_sites_engine_take_only_jobs_that_name_it_and_whole_gpus(world: World) -> None:
    ours, theirs = await world.node("ours"), await world.node("theirs", executor="slurm", labels={"pool": "a"})
    named = replace(asks("named", node_labels=(("pool", "a"),)), executor="slurm")
    part = replace(asks("part", gpu_milli=500), executor="slurm")
    await launched(world, asks("plain"), named, part)
    assert await place(world, "plain", (theirs, ["GPU-theirs-0"])) == "EXECUTOR"
    assert await place(world, "named", (ours, ["GPU-ours-0"])) == "NODE_LABELS"
    assert await place(world, "part", (theirs, ["GPU-theirs-0"])) == "GPU_SHARES"
    assert await place(world, "named", (theirs, ["GPU-theirs-0"])) == ""
    assert await place(world, "plain", (ours, ["GPU-ours-0"])) == ""


async def test_an_exclusive_job_shares_with_nobody_whoever_came_first(world: World) -> None:
    alpha, beta = await world.node("alpha"), await world.node("beta")
    await launched(world, asks("plain"), asks("alone", exclusive_nodes=True), asks("late"))
    assert await place(world, "plain", (alpha, ["GPU-alpha-0"])) == ""
    assert await place(world, "alone", (alpha, ["GPU-alpha-1"])) == "NODE_EXCLUSIVE"
    assert await place(world, "alone", (beta, ["GPU-beta-0"])) == ""
    assert await place(world, "late", (beta, ["GPU-beta-1"])) == "NODE_EXCLUSIVE"


async def test_jobs_of_one_team_and_one_word_stay_apart(world: World) -> None:
    node = await world.node()
    await launched(world, asks("one", anti_affinity="web"), asks("two", anti_affinity="web"), asks("three"))
    assert await place(world, "one", (node, ["GPU-alpha-0"])) == ""
    assert await place(world, "two", (node, ["GPU-alpha-1"])) == "ANTI_AFFINITY"
    assert await place(world, "three", (node, ["GPU-alpha-1"])) == ""


async def test_a_gpu_in_mig_mode_offers_its_devices_and_not_itself(world: World) -> None:
    devices = (MigDevice("MIG-1", "1g.10gb", 10 * GB), MigDevice("MIG-2", "2g.20gb", 20 * GB))
    (whole,) = gpus("alpha", 1)
    node = await world.node(devices=(replace(whole, mig_enabled=True, mig_devices=devices),))
    await launched(world, asks("whole"), asks("small", mig_profile="1g.10gb"), asks("again", mig_profile="1g.10gb"))
    assert await place(world, "whole", (node, [whole.uuid])) == "STALE"
    assert await place(world, "small", (node, ["MIG-2"])) == "MIG_PROFILE"
    assert await place(world, "small", (node, ["MIG-1"])) == ""
    assert await place(world, "again", (node, ["MIG-1"])) == "STALE"
    assert await world.held() == {whole.uuid}
    price = (await world.newest("small")).price_usd_per_gpu_hour
    assert price == pytest.approx((await world_price(world)) / 7)


@pytest.mark.parametrize("whole_first", [True, False], ids=["whole-first", "device-first"])
async def test_a_gpu_that_was_divided_otherwise_meanwhile_is_not_given_twice(world: World, whole_first: bool) -> None:
    (whole,) = gpus("alpha", 1)
    divided = replace(whole, mig_enabled=True, mig_devices=(MigDevice("MIG-1", "1g.10gb", 10 * GB),))
    node = await world.node(devices=(whole if whole_first else divided,))
    await launched(world, asks("whole"), asks("device", mig_profile="1g.10gb"))
    first, second = ("whole", "device") if whole_first else ("device", "whole")
    uuids = {"whole": [whole.uuid], "device": ["MIG-1"]}
    assert await place(world, first, (node, uuids[first])) == ""
    assert node.inventory is not None
    after = replace(node.inventory, gpus=(divided if whole_first else whole,))
    await world.store.write(lambda tx: nodes.update(tx, node.id, inventory=after))
    assert await place(world, second, (node, uuids[second])) == "STALE"
    await world.finish(first)
    assert await place(world, second, (node, uuids[second])) == ""


async def world_price(world: World) -> Any:  # Any: a price
    return world.governor.prices.usd_per_gpu_hour("H100")


async def test_parts_of_a_gpu_and_of_its_memory_fit_or_are_refused_and_cost_their_part(world: World) -> None:
    node = await world.node(shares=True)
    await launched(
        world,
        asks("half", gpu_milli=500),
        asks("greedy", gpu_milli=250, share_memory_bytes=41 * GB),
        asks("modest", gpu_milli=250, share_memory_bytes=30 * GB),
        asks("whole"),
        asks("rest", gpu_milli=251, share_memory_bytes=1),
    )
    gpu = ["GPU-alpha-0"]
    assert await place(world, "half", (node, gpu)) == ""
    assert await place(world, "greedy", (node, gpu)) == "GPU_MEMORY"
    assert await place(world, "modest", (node, gpu)) == ""
    assert await place(world, "whole", (node, gpu)) == "STALE"
    assert await place(world, "rest", (node, gpu)) == "STALE"
    await world.finish("half", gpu_seconds=1800.0)  # hosts count parts as parts
    half = await world.newest("half")
    assert half.gpu_seconds == pytest.approx(1800.0)
    assert half.cost_usd == half.price_usd_per_gpu_hour / 2


def joined(node: str, pairs: Sequence[tuple[int, int]], number: int = 4) -> tuple[GpuInventory, ...]:
    peers: dict[int, list[str]] = {}
    for one, other in pairs:
        peers.setdefault(one, []).append(f"GPU-{node}-{other}")
    return tuple(replace(gpu, nvlink_peer_uuids=tuple(peers.get(gpu.index, ()))) for gpu in gpus(node, number))


async def test_gpus_are_as_near_as_the_job_demands(world: World) -> None:
    islands = [(0, 1), (2, 3)]
    alpha = await world.node("alpha", labels={"rack": "r1", "zone": "z"}, devices=joined("alpha", islands))
    beta = await world.node("beta", labels={"rack": "r2", "zone": "z"})
    await launched(
        world,
        asks("linked", gpu=2, topology=TopologyDomain.NVLINK),
        asks("rack", gpu=2, topology=TopologyDomain.RACK),
        asks("zone", gpu=2, topology=TopologyDomain.ZONE),
        asks("node", gpu=2, topology=TopologyDomain.NODE),
    )
    assert await place(world, "linked", (alpha, ["GPU-alpha-1", "GPU-alpha-2"])) == "TOPOLOGY"
    assert await place(world, "linked", (alpha, ["GPU-alpha-2", "GPU-alpha-3"])) == ""
    apart = ((alpha, ["GPU-alpha-0"]), (beta, ["GPU-beta-0"]))
    assert await place(world, "rack", *apart) == "TOPOLOGY"
    assert await place(world, "node", *apart) == "TOPOLOGY"
    assert await place(world, "zone", *apart) == ""


async def test_a_team_and_the_teams_above_it_hold_no_more_than_they_may(world: World) -> None:
    node, user = await world.node(), await world.user()

    def assign(path: str) -> Any:  # Any: a write
        return lambda tx: users.set_team(tx, user.id, path)

    await world.store.write(lambda tx: teams.put(tx, Team("research", max_gpus=3)))
    await world.store.write(lambda tx: teams.put(tx, Team("research/nlp")))
    await world.store.write(assign("research/nlp"))
    await world.launch(user, asks("one", gpu=2), asks("two", gpu=2))
    await world.store.write(assign(""))
    assert await place(world, "one", (node, ["GPU-alpha-0", "GPU-alpha-1"])) == ""
    # The job stays with the team that it was submitted for.
    assert await place(world, "two", (node, ["GPU-alpha-2", "GPU-alpha-3"])) == "TEAM_QUOTA"
    assert (await world.job("two")).team == "research/nlp"
    assert job_id("two") == (await world.job("two")).id


async def test_teams_whose_names_differ_in_case_alone_are_two_teams(world: World) -> None:
    user, node = await world.user(), await world.node()
    for path in ("nlp", "NLP", "NLP/a"):
        await world.store.write(partial(teams.put, team=Team(path, max_gpus=1)))
    for name, team in (("theirs", "NLP/a"), ("ours", "nlp")):
        await world.store.write(partial(users.set_team, user_id=user.id, team=team))
        await world.launch(user, asks(name))
    assert await place(world, "theirs", (node, ["GPU-alpha-0"])) == ""
    assert await world.store.read(lambda tx: teams.in_use(tx, "nlp")) == (1, 0, 1)
    assert await place(world, "ours", (node, ["GPU-alpha-1"])) == ""
