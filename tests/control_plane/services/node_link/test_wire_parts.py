"""MIG devices, parts of GPUs and checkpoints on the link."""

from dataclasses import replace

import pytest

from control_plane.errors import InvalidArgument
from control_plane.governor.books import Assignment
from control_plane.services.link_wire import assignment, read_inventory
from orquanta.v1 import node_pb2
from tests.control_plane.world import World, spec


def wire(*devices: node_pb2.MigDevice, uuid: str = "GPU-1") -> node_pb2.HostInventory:
    gpu = node_pb2.GpuInventory(
        uuid=uuid, gpu_type="A100", memory_bytes=80 << 30, mig_enabled=True, mig_devices=devices
    )
    return node_pb2.HostInventory(boot_id="b", gpus=[gpu], enforceable_limits=["gpu_share", "magic"])


def device(uuid: str = "MIG-1", profile: str = "1g.10gb", memory_bytes: int = 10 << 30) -> node_pb2.MigDevice:
    return node_pb2.MigDevice(uuid=uuid, profile=profile, memory_bytes=memory_bytes)


def test_mig_devices_and_shares_of_a_host_are_read() -> None:
    read = read_inventory(wire(device(), device("MIG-2", "2G.20GB", 20 << 30)))
    assert [(one.uuid, one.profile) for one in read.gpus[0].mig_devices] == [("MIG-1", "1g.10gb"), ("MIG-2", "2g.20gb")]
    assert read.enforceable_limits == ("gpu_share",)


@pytest.mark.parametrize(
    "bad",
    [
        wire(device(), device()),
        wire(device("GPU-1")),
        wire(device("")),
        wire(device(profile="a b")),
        wire(device("x", memory_bytes=1 << 60)),
    ],
    ids=["twice", "as-its-gpu", "no-uuid", "profile", "memory"],
)
def test_mig_devices_that_make_no_sense_are_refused(bad: node_pb2.HostInventory) -> None:
    with pytest.raises(InvalidArgument):
        read_inventory(bad)


async def test_a_host_is_told_the_part_and_how_to_ask_for_a_checkpoint(world: World) -> None:
    user, node = await world.user(), await world.node(shares=True)
    part = replace(spec("part", gpu_milli=250), checkpoint_signal="SIGUSR1", checkpoint_seconds=90)
    await world.launch(user, part)
    await world.place("part", (node, [0]))
    job = await world.job("part")
    made = assignment(Assignment(job, job.allocations[0], job.allocations[0].members[0]))
    assert (made.gpu_milli, made.checkpoint_signal, made.checkpoint_time.seconds) == (250, 10, 90)
