"""The fleet in figures: counted from columns, and what hosts are made of is read once."""

from collections.abc import Collection

import pytest

from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.store import gpu_briefs, nodes
from control_plane.store.database import Tx
from control_plane.tools.fleet_gpus import FleetGpus
from orquanta.v1 import job_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.troubles import condition, report_health


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[NodeId]:
    """The nodes whose inventories were read, one after the other."""
    asked: list[NodeId] = []
    whole = gpu_briefs.gpus

    def gpus(tx: Tx, node_ids: Collection[NodeId]) -> dict[NodeId, tuple[gpu_briefs.GpuBrief, ...]]:
        asked.extend(node_ids)
        return whole(tx, node_ids)

    monkeypatch.setattr(gpu_briefs, "gpus", gpus)
    return asked


async def counts(fleet: Fleet, counter: FleetGpus) -> dict[str, tuple[int, int, int]]:
    found = await fleet.store.read(counter.count)
    return {name: (model.total, model.held, model.idle) for name, model in found.models.items()}


async def test_gpus_are_counted_by_model_whatever_becomes_of_their_hosts(fleet: Fleet, user: Client) -> None:
    busy, sick = await fleet.node("busy"), await fleet.node("sick")
    lost, other = await fleet.node("lost"), await fleet.node("other", gpu_type="A100", gpus=4)
    counter = FleetGpus()
    assert await counts(fleet, counter) == {"H100": (24, 0, 24), "A100": (4, 0, 4)}

    job = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    await fleet.place(job.id, busy, 1)
    await report_health(fleet, sick, condition(fleet, "GPU-sick-0"))
    await fleet.store.write(lambda tx: nodes.update(tx, lost.id, state=NodeState.LOST))
    await fleet.store.write(lambda tx: nodes.update(tx, other.id, state=NodeState.CORDONED))
    assert await counts(fleet, counter) == {"H100": (16, 1, 14), "A100": (4, 0, 0)}
    found = await fleet.store.read(counter.count)
    assert found.held == {busy.id: {"GPU-busy-0": "H100"}}
    assert (found.models["H100"].used_milli, found.models["H100"].partly) == (1_000, 0)


async def test_what_a_host_is_made_of_is_read_again_only_when_the_host_has_changed(
    fleet: Fleet, read: list[NodeId]
) -> None:
    first, second = await fleet.node("first"), await fleet.node("second")
    counter = FleetGpus()
    await counts(fleet, counter)
    await counts(fleet, counter)
    assert sorted(read) == sorted([first.id, second.id])
    assert second.inventory is not None
    changed = second.inventory.gpus[:2]
    made = type(second.inventory)(hostname="second", boot_id="b", agent_version="1", gpus=changed)
    await fleet.store.write(lambda tx: nodes.update(tx, second.id, inventory=made))
    assert await counts(fleet, counter) == {"H100": (10, 0, 10)}
    assert read[2:] == [second.id]
    await fleet.store.write(lambda tx: nodes.update(tx, first.id, state=NodeState.REVOKED))
    assert await counts(fleet, counter) == {"H100": (2, 0, 2)}
