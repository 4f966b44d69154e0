"""Each fault is seen in the samples, and goes with the repair that cures it and no earlier."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from node_agent.clock import SystemClock
from node_agent.probe.nvml import Nvml
from node_agent.probe.samples import GpuSample, RecoveryAction, ThrottleReason
from node_agent.probe.telemetry import Telemetry
from node_agent.virtual import (
    BadFault,
    FaultBoard,
    VirtualFault,
    VirtualFaultKind,
    VirtualHost,
    VirtualRepair,
    virtual_gpus,
)
from node_agent.virtual.board import MAXIMUM_FAULTS, fault_of

Kind = VirtualFaultKind
RESET, RELOAD, REBOOT = VirtualRepair.GPU_RESET, VirtualRepair.DRIVER_RELOAD, VirtualRepair.REBOOT
REPAIRS = (RESET, RELOAD, REBOOT)


def remap(sample: GpuSample, name: str) -> Any:
    assert sample.remapped_rows is not None
    return getattr(sample.remapped_rows, name)


def link(sample: GpuSample, number: int) -> Any:
    assert sample.nvlinks is not None
    return sample.nvlinks[number]


def throttled(sample: GpuSample) -> bool:
    return sample.throttle_reasons is not None and ThrottleReason.HW_THERMAL_SLOWDOWN in sample.throttle_reasons


# The fault without its GPU, the least repair that cures it, and how it shows.
CASES: list[tuple[dict[str, Any], VirtualRepair, Callable[[GpuSample], bool]]] = [
    ({"kind": Kind.ECC_CORRECTED, "value": 7, "times": 2}, RESET, lambda gpu: gpu.ecc.corrected_volatile == 14),
    ({"kind": Kind.ECC_UNCORRECTED, "value": 1}, RESET, lambda gpu: gpu.ecc.uncorrected_volatile == 1),
    ({"kind": Kind.ROW_REMAP_PENDING, "value": 2}, RESET, lambda gpu: bool(remap(gpu, "pending"))),
    ({"kind": Kind.ROW_REMAP_FAILED, "value": 1}, VirtualRepair.NONE, lambda gpu: bool(remap(gpu, "failure"))),
    ({"kind": Kind.GPU_LOST}, RESET, lambda gpu: gpu.error == "GPU_IS_LOST"),
    ({"kind": Kind.GPU_LOST, "value": 2}, RELOAD, lambda gpu: gpu.error == "GPU_IS_LOST"),
    ({"kind": Kind.GPU_LOST, "value": 3}, REBOOT, lambda gpu: gpu.error == "GPU_IS_LOST"),
    ({"kind": Kind.THERMAL, "value": 91}, RESET, lambda gpu: gpu.temperature_margin_celsius == -4 and throttled(gpu)),
    ({"kind": Kind.NVLINK_DOWN, "value": 17}, RESET, lambda gpu: gpu.nvlinks_active == 17 and not link(gpu, 17).active),
    ({"kind": Kind.NVLINK_ERRORS, "value": 3, "times": 2, "link": 4}, RESET, lambda gpu: link(gpu, 4).errors == 6),
    ({"kind": Kind.PCIE_WIDTH, "value": 8}, REBOOT, lambda gpu: gpu.pcie.width == 8),
    ({"kind": Kind.PCIE_REPLAYS, "value": 100}, RESET, lambda gpu: gpu.pcie.replays == 100),
    ({"kind": Kind.RECOVERY_ACTION, "value": 1}, RESET, lambda gpu: gpu.recovery_action is RecoveryAction.GPU_RESET),
    ({"kind": Kind.RECOVERY_ACTION, "value": 2}, REBOOT, lambda gpu: gpu.recovery_action is RecoveryAction.NODE_REBOOT),
    ({"kind": Kind.RECOVERY_ACTION, "value": 99}, RESET, lambda gpu: gpu.recovery_action is RecoveryAction.UNKNOWN),
    (
        {"kind": Kind.THERMAL, "value": 91, "cured_by": VirtualRepair.NONE},
        VirtualRepair.NONE,
        lambda gpu: gpu.temperature_celsius == 91,
    ),
]


def sample(host: VirtualHost, index: int = 0) -> GpuSample:
    del host
    nvml = Nvml()
    nvml.open()
    try:
        return Telemetry(nvml, SystemClock()).read(fresh=True).gpus[index]
    finally:
        nvml.close()


@pytest.mark.parametrize(
    ("fault", "cure", "shows"), CASES, ids=[f"{case[0]['kind'].value}-{number}" for number, case in enumerate(CASES)]
)
def test_a_fault_shows_until_the_repair_that_cures_it(
    fault: dict[str, Any], cure: VirtualRepair, shows: Callable[[GpuSample], bool], tmp_path: Path
) -> None:
    with virtual_gpus("2xH100") as host:
        board = FaultBoard(host, str(tmp_path / "faults.json"))
        uuid = host.gpus[0].uuid
        assert not shows(sample(host))
        board.inject(VirtualFault(gpu_uuid=uuid, **fault))
        for repair in REPAIRS:
            assert shows(sample(host))
            assert not shows(sample(host, 1))
            told = board.repair(repair, [uuid])
            if repair >= cure:
                assert "cured " + fault["kind"].value in told
                break
            assert "still there: " + fault["kind"].value in told
        assert shows(sample(host)) is (cure is VirtualRepair.NONE)
        board.clear([uuid])
        assert not shows(sample(host))


def test_what_a_cured_fault_leaves_is_counted_over_the_life_of_the_gpu() -> None:
    with virtual_gpus("1xH100") as host:
        board = FaultBoard(host)
        board.inject(VirtualFault(Kind.ECC_UNCORRECTED, host.gpus[0].uuid, 3))
        board.inject(VirtualFault(Kind.ROW_REMAP_PENDING, host.gpus[0].uuid, 2))
        board.repair(RESET)
        found = sample(host)
        assert (found.ecc.uncorrected_volatile, found.ecc.uncorrected_aggregate) == (0, 3)
        assert (remap(found, "uncorrectable"), remap(found, "pending")) == (2, False)
        assert found.bank_spares is not None
        assert (found.bank_spares.high, found.bank_spares.none) == (2, 0)


def test_a_gpu_that_stays_lost_is_out_of_reach_of_the_repair() -> None:
    with virtual_gpus("1xH100") as host:
        board = FaultBoard(host)
        uuid = host.gpus[0].uuid
        board.inject(VirtualFault(Kind.ROW_REMAP_PENDING, uuid, 1))
        board.inject(VirtualFault(Kind.GPU_LOST, uuid, 3))
        assert board.repair(RESET) == f"{uuid}: cured nothing, still there: row_remap_pending, gpu_lost"
        assert [fault.kind for fault in board.active(uuid)] == [Kind.ROW_REMAP_PENDING, Kind.GPU_LOST]
        board.repair(REBOOT)
        assert board.active(uuid) == ()


def test_a_reset_is_of_the_named_gpus_and_a_driver_reload_of_all() -> None:
    with virtual_gpus("3xH100") as host:
        board = FaultBoard(host)
        uuids = [gpu.uuid for gpu in host.gpus]
        for uuid in uuids:
            board.inject(VirtualFault(Kind.GPU_LOST, uuid))
        board.repair(RESET, [uuids[1]])
        assert [sample(host, index).error for index in range(3)] == ["GPU_IS_LOST", None, "GPU_IS_LOST"]
        board.repair(RELOAD, [uuids[1]])
        assert [sample(host, index).error for index in range(3)] == [None] * 3


def test_faults_outlive_their_process_with_their_traces(tmp_path: Path) -> None:
    path = str(tmp_path / "faults.json")
    with virtual_gpus("2xH100", host_identity="same") as host:
        board = FaultBoard(host, path)
        board.inject(VirtualFault(Kind.GPU_LOST, host.gpus[1].uuid, 3))
        board.inject(VirtualFault(Kind.ECC_CORRECTED, host.gpus[0].uuid, 5))
        board.repair(RESET)
    with virtual_gpus("2xH100", host_identity="same") as host:
        again = FaultBoard(host, path)
        assert [fault.kind for gpu in host.gpus for fault in again.active(gpu.uuid)] == [Kind.GPU_LOST]
        assert sample(host).ecc.corrected_aggregate == 5
        assert sample(host, 1).error == "GPU_IS_LOST"
        again.repair(REBOOT)
        assert sample(host, 1).error is None
    with virtual_gpus("2xH100", host_identity="another") as host:
        assert FaultBoard(host, path).active(host.gpus[0].uuid) == ()


@pytest.mark.parametrize("text", ["", "no json", "{}", "[1]", '[["xid"]]', '[["thermal", "GPU", 1, 1, 0, "x", 1]]'])
def test_a_file_that_cannot_be_read_holds_no_faults(text: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with virtual_gpus("1xH100") as host:
        assert FaultBoard(host, str(path)).active(host.gpus[0].uuid) == ()


def test_a_call_hangs_as_often_as_it_should_even_if_its_process_is_killed_meanwhile(tmp_path: Path) -> None:
    path = str(tmp_path / "faults.json")
    with virtual_gpus("1xH100", host_identity="same") as host:
        uuid = host.gpus[0].uuid
        board = FaultBoard(host, path)
        board.inject(VirtualFault(Kind.HANG, uuid, 1, times=2, call="nvmlDeviceGetSerial"))
        pynvml.nvmlInit()
        pynvml.nvmlDeviceGetSerial(pynvml.nvmlDeviceGetHandleByIndex(0))
        (hang,) = board.active(uuid)
        assert hang.times == 2
    with virtual_gpus("1xH100", host_identity="same") as host:
        board = FaultBoard(host, path)
        assert len(board.active(uuid)) == 1
        pynvml.nvmlInit()
        pynvml.nvmlDeviceGetSerial(pynvml.nvmlDeviceGetHandleByIndex(0))
        assert board.active(uuid) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": Kind.XID, "value": 0}, "goes from 1"),
        ({"kind": Kind.THERMAL, "value": 151}, "goes from 0 to 150"),
        ({"kind": Kind.THERMAL, "value": 90, "times": 0}, "times"),
        ({"kind": Kind.NVLINK_DOWN, "value": 18}, "18 NVLinks"),
        ({"kind": Kind.NVLINK_ERRORS, "value": 1, "link": 99}, "link goes from 0"),
        ({"kind": Kind.PCIE_WIDTH, "value": 7}, "1, 2, 4, 8 or 16"),
        ({"kind": Kind.HANG, "value": 5, "call": "rm"}, "no GPU call"),
        ({"kind": Kind.GPU_LOST, "gpu_uuid": "GPU-0"}, "no GPU 'GPU-0'"),
    ],
)
def test_a_fault_that_no_gpu_can_have_is_refused(change: dict[str, Any], message: str) -> None:
    with virtual_gpus("1xH100") as host:
        board = FaultBoard(host)
        with pytest.raises(BadFault, match=message):
            board.inject(VirtualFault(**{"gpu_uuid": host.gpus[0].uuid, **change}))
        assert board.active(host.gpus[0].uuid) == ()


@pytest.mark.parametrize(
    "fields", [None, [], ["xid"], ["odd", "GPU", 1, 1, 0, "x", None], ["xid", "G", {}, 1, 0, "", 1]]
)
def test_what_is_no_fault_is_refused(fields: object) -> None:
    with pytest.raises(BadFault, match="no fault"):
        fault_of(fields)


def test_faults_of_one_gpu_are_bounded() -> None:
    with virtual_gpus("1xH100") as host:
        board = FaultBoard(host)
        fault = VirtualFault(Kind.PCIE_REPLAYS, host.gpus[0].uuid, 1)
        for _ in range(MAXIMUM_FAULTS):
            board.inject(fault)
        with pytest.raises(BadFault, match="already"):
            board.inject(fault)


def test_every_kind_of_fault_has_a_cure_and_bounds() -> None:
    for kind in Kind:
        fault = VirtualFault(kind, "GPU-1", 1)
        fault.check()
        assert isinstance(fault.cure, VirtualRepair)
