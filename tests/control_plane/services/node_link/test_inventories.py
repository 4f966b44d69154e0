"""What hosts say they are made of."""

import pytest

from control_plane.model.action import RevokeNode
from control_plane.model.node import NodeState
from control_plane.store import nodes
from orquanta.v1 import node_link_pb2, node_pb2
from tests.control_plane.services.node_link.hosts import inventory, stamp
from tests.control_plane.services.node_link.rig import Rig


@pytest.mark.parametrize(
    "broken",
    [
        node_pb2.HostInventory(),
        inventory("x", uuids=["GPU-1", "GPU-1"]),
        inventory("x", uuids=["GPU 1; rm"]),
        inventory("x", 65),
        node_pb2.HostInventory(boot_id="b", memory_bytes=2**63),
    ],
)
async def test_an_inventory_that_makes_no_sense_is_refused_with_a_reason(
    rig: Rig, broken: node_pb2.HostInventory
) -> None:
    host = await rig.join("gpu-1")
    async with host.dial() as stream:
        await stream.send(hello=node_link_pb2.Hello(inventory=broken, host_time=stamp(rig.clock.now())))
        assert "inventory makes no sense" in (await stream.farewell()).reason
    assert (await rig.node(host.node_id)).state is NodeState.JOINING


async def test_texts_of_a_host_are_cleaned_and_cut(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.dial() as stream:
        hello = host.hello()
        hello.inventory.cpu_model = "\x00\x1b[31m" + "x" * 5000
        hello.inventory.address = "$(reboot)"
        await stream.send(hello=hello)
        await stream.next("welcome")
    found = (await rig.node(host.node_id)).inventory
    assert found is not None
    assert "\x00" not in found.cpu_model
    assert "\x1b" not in found.cpu_model
    assert len(found.cpu_model) == 200
    assert found.address == ""


async def test_gpus_of_another_node_are_left_out_and_recorded(rig: Rig) -> None:
    one, two = await rig.join("gpu-1"), await rig.join("gpu-2")
    async with one.connect(), two.connect(uuids=["GPU-gpu-1-0", "GPU-gpu-2-0"]) as stream:
        await stream.next("desired_state")
        found = (await rig.node(two.node_id)).inventory
        assert found is not None
        assert [gpu.uuid for gpu in found.gpus] == ["GPU-gpu-2-0"]
        assert len(await rig.audited(two.node_id, "inventory.correct")) == 1
        # The claim ends with the node that had it.
        await rig.propose(RevokeNode(one.node_id, "sold"))
        await rig.until(lambda tx: nodes.resolve(tx, one.node_id), lambda node: not node.connected)
        await stream.send(inventory=inventory("gpu-2", uuids=["GPU-gpu-1-0", "GPU-gpu-2-0"]))
        await rig.until_node(two.node_id, lambda node: node.inventory is not None and len(node.inventory.gpus) == 2)


async def test_a_changed_inventory_is_taken_over(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    async with host.connect() as stream:
        await stream.send(inventory=inventory("gpu-1", uuids=["GPU-9"]))
        await rig.until_node(
            host.node_id, lambda node: node.inventory is not None and node.inventory.gpus[0].uuid == "GPU-9"
        )
