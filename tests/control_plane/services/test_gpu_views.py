"""Who holds a GPU, as it is told to people."""

from dataclasses import replace

from control_plane.model.action import PlaceJob, Placement
from control_plane.model.node import MigDevice
from control_plane.services import node_views
from control_plane.services.convert import nodes as convert
from control_plane.store import gpu_holds
from tests.control_plane.world import GB, World, gpus, job_id, spec


async def test_all_jobs_that_share_a_gpu_are_named_with_their_parts_of_it(any_world: World) -> None:
    user, node = await any_world.user(), await any_world.node(gpu=2, shares=True)
    await any_world.launch(user, spec("a", gpu_milli=250), spec("b", gpu_milli=500))
    for name in ("a", "b"):
        await any_world.place(name, (node, [0]))
    held = await any_world.store.read(lambda tx: convert.node(node_views.one(tx, node)))
    shared, free = held.gpus
    assert {(one.job_id, one.milli) for one in shared.holders} == {(job_id("a"), 250), (job_id("b"), 500)}
    assert [one.allocation_id for one in shared.holders] == sorted(one.allocation_id for one in shared.holders)
    assert (shared.used_milli, shared.allocation_id) == (750, shared.holders[0].allocation_id)
    assert (free.used_milli, list(free.holders), free.job_id) == (0, [], "")


async def test_a_mig_device_counts_by_its_slices_of_the_gpu_that_it_is_on(any_world: World) -> None:
    devices = (MigDevice("MIG-1", "3g.40gb", 40 * GB), MigDevice("MIG-2", "odd", 10 * GB))
    (whole,) = gpus("alpha", 1)
    user, asked = await any_world.user(), spec("a")
    node = await any_world.node(devices=(replace(whole, mig_enabled=True, mig_devices=devices),))
    await any_world.launch(user, replace(asked, resources=replace(asked.resources, mig_profile="3g.40gb")))
    placement = Placement(0, node.id, ("MIG-1",))
    await any_world.propose(PlaceJob(job_id("a"), 1, "H100", (placement,), "a test wants it"))
    (gpu,) = (await any_world.store.read(lambda tx: convert.node(node_views.one(tx, node)))).gpus
    (holder,) = gpu.holders
    assert (holder.mig_device_uuid, holder.milli, gpu.used_milli) == ("MIG-1", 429, 429)
    assert await any_world.store.read(gpu_holds.occupied_by_type) == {"H100": 1}
    # A host may name its devices as it likes: what is not known is taken for all of the GPU.
    (hold,) = (await any_world.store.read(gpu_holds.holders))[whole.uuid]
    assert node.inventory is not None
    assert gpu_holds.share_milli(node.inventory.gpus[0], replace(hold, gpu_uuid="MIG-2")) == 1000
