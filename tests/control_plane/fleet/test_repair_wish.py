"""What a person means who asks for a repair without saying everything."""

from datetime import UTC, datetime
from typing import Any

import pytest

from control_plane.errors import InvalidArgument, PreconditionFailed
from control_plane.fleet.repair_wish import RepairWish, plan
from control_plane.model.health import Condition, ConditionScope, ConditionSeverity
from control_plane.model.identity import CertificateSerial
from control_plane.model.ids import NODE, new_id
from control_plane.model.node import GpuInventory, HostInventory, Node, NodeState
from control_plane.model.repair import Rung

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
NODE_A = Node(
    id=new_id(NODE),
    name="node-a",
    state=NodeState.READY,
    status_reason="",
    cordoned=False,
    connected=True,
    inventory=HostInventory(
        "node-a", "boot", "1", tuple(GpuInventory(index, f"GPU-{index}", "H100", "H100", 80) for index in range(4))
    ),
    labels={},
    certificate_serial=CertificateSerial("01"),
    certificate_expires_at=NOW,
    last_seen_at=NOW,
    created_at=NOW,
    version=1,
)


def condition(repair: Rung | None, gpu_uuid: str = "", **more: Any) -> Condition:  # Any: fields of a condition
    return Condition(
        id=f"{gpu_uuid or 'host'}/{repair.name if repair else 'none'}",
        scope=ConditionScope.GPU if gpu_uuid else ConditionScope.HOST,
        subject=gpu_uuid,
        kind="XID",
        severity=ConditionSeverity.FATAL,
        summary="trouble",
        first_seen_at=NOW,
        last_seen_at=NOW,
        gpu_uuid=gpu_uuid,
        repair=repair,
        **more,
    )


def test_gpus_are_named_by_index_or_uuid_and_each_is_meant_once() -> None:
    meant = plan(RepairWish(Rung.RESET_GPU, gpus=["2", "GPU-2", "GPU-3"]), NODE_A, [])
    assert meant.gpu_uuids == ("GPU-2", "GPU-3")


@pytest.mark.parametrize("gpu", ["4", "-1", "GPU-9", ""])
def test_a_gpu_that_is_not_there_is_refused(gpu: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        plan(RepairWish(Rung.RESET_GPU, gpus=[gpu]), NODE_A, [])
    assert caught.value.reason == "GPU_UNKNOWN"


def test_a_gpu_that_fell_off_the_bus_can_be_named_while_a_condition_is_about_it() -> None:
    lost = condition(Rung.REBOOT_HOST, "GPU-9")
    assert plan(RepairWish(None, gpus=["GPU-9"]), NODE_A, [lost]).gpu_uuids == ("GPU-9",)


def test_without_a_rung_the_gentlest_that_fits_all_conditions_is_meant_on_their_gpus() -> None:
    found = [condition(Rung.STOP_PROCESS, "GPU-1", process_ids=(7,)), condition(Rung.RESET_GPU, "GPU-2")]
    meant = plan(RepairWish(None), NODE_A, found)
    assert (meant.rung, meant.gpu_uuids, meant.process_ids) == (Rung.RESET_GPU, ("GPU-2",), ())
    assert set(meant.condition_ids) == {one.id for one in found}


def test_without_a_rung_only_the_conditions_of_the_named_gpus_count() -> None:
    found = [condition(Rung.STOP_PROCESS, "GPU-1", process_ids=(7, 8)), condition(Rung.REBOOT_HOST, "GPU-2")]
    meant = plan(RepairWish(None, gpus=["1"]), NODE_A, found)
    assert (meant.rung, meant.process_ids, meant.condition_ids) == (Rung.STOP_PROCESS, (7, 8), (found[0].id,))


def test_what_is_acknowledged_asks_for_nothing() -> None:
    with pytest.raises(PreconditionFailed) as caught:
        plan(RepairWish(None), NODE_A, [condition(Rung.RESET_GPU, "GPU-2", acknowledged_by="ada"), condition(None)])
    assert caught.value.reason == "NO_REPAIR_FITS"


def test_the_service_to_restart_follows_from_the_condition_unless_it_is_named() -> None:
    down = condition(Rung.RESTART_SERVICE, service="nvidia-fabricmanager")
    assert plan(RepairWish(None), NODE_A, [down]).service == "nvidia-fabricmanager"
    assert plan(RepairWish(None, service="nvidia-dcgm"), NODE_A, [down]).service == "nvidia-dcgm"


def test_a_test_under_load_is_not_meant_to_end_conditions() -> None:
    assert plan(RepairWish(Rung.VERIFY), NODE_A, [condition(Rung.RESET_GPU, "GPU-2")]).condition_ids == ()
