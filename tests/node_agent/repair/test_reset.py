"""Resets, with real processes as holders."""

from dataclasses import replace

import pytest

from node_agent.health.model import Rung
from node_agent.probe.samples import RemappedRows
from node_agent.repair import processes
from node_agent.repair.holders import DEVICE_PREFIX
from node_agent.repair.model import CheckOutcome, RepairState
from node_agent.repair.ports import HostJob
from node_agent.repair.rungs.reset_gpu import reset_group
from tests.node_agent.repair.doubles import VirtualBoard
from tests.node_agent.repair.repair_host import Host, holder
from tests.node_agent.repair.stage import DCGM, EXPORTER, HOLDING, PERSISTENCED, Stage
from tests.node_agent.repair.values import condition, gpu, order


async def test_every_holder_is_stopped_before_the_reset_and_started_after_it_in_reverse(host: Host) -> None:
    await host.hardware.reacquire()
    before = {service: host.stage.service_pid(service) for service in HOLDING}
    record = await host.carry_out(order())
    assert record.state is RepairState.SUCCEEDED, record
    assert host.stage.log() == [
        f"systemctl stop -- {EXPORTER}",
        f"systemctl stop -- {DCGM}",
        f"systemctl stop -- {PERSISTENCED}",
        "nvidia-smi --gpu-reset -i 00000000:1B:00.0",
        f"systemctl start -- {PERSISTENCED}",
        f"systemctl start -- {DCGM}",
        f"systemctl start -- {EXPORTER}",
    ]
    assert host.stage.running_services() == set(HOLDING)
    assert all(host.stage.service_pid(service) != pid for service, pid in before.items())
    assert host.hardware.probe is not None
    assert [step.undo for step in record.steps] == [False] * 6 + [True] * 3
    assert host.jobs.held == [("GPU-0",)]
    assert host.jobs.holds_now is None


async def test_the_verification_says_what_passed_and_what_could_not_be_checked(host: Host) -> None:
    record = await host.carry_out(order())
    outcomes = {check.name: check.outcome for check in record.checks}
    assert outcomes["nvml"] is outcomes["ecc"] is outcomes["pcie"] is CheckOutcome.PASSED
    assert outcomes["conditions"] is CheckOutcome.PASSED
    assert set(outcomes) == {
        "nvml", "memory_pattern", "matrix", "canary", "ecc", "pcie", "nvlink", "nvml_after_load", "conditions",
    }  # fmt: skip
    for check in record.checks:
        if check.outcome is CheckOutcome.NOT_CHECKED:
            assert check.detail


async def test_what_was_stopped_is_started_again_when_the_reset_fails(host: Host) -> None:
    host.stage.fail("reset")
    record = await host.carry_out(order())
    assert record.state is RepairState.FAILED
    assert "stand-in: reset fails" in record.message
    assert host.stage.running_services() == set(HOLDING)
    assert not record.checks


async def test_what_was_stopped_is_started_again_when_a_later_service_cannot_be_stopped(host: Host) -> None:
    host.stage.fail(f"stop-{DCGM}")
    record = await host.carry_out(order())
    assert record.state is RepairState.FAILED
    assert host.stage.running_services() == set(HOLDING)
    assert host.stage.resets() == 0


async def test_a_service_that_cannot_be_started_again_fails_the_repair_and_is_named(host: Host) -> None:
    host.stage.fail(f"start-{DCGM}")
    record = await host.carry_out(order())
    assert record.state is RepairState.FAILED
    assert f"start service {DCGM}" in record.message
    assert "by hand" in record.message
    assert host.stage.running_services() == {EXPORTER, PERSISTENCED}


async def test_a_stranger_that_holds_the_gpu_is_named_and_nothing_is_done(host: Host) -> None:
    for stranger in holder(host.stage):
        record = await host.carry_out(order())
        assert record.state is RepairState.REFUSED
        place = processes.place_of(stranger.pid)
        assert f"(pid {stranger.pid}{', ' if place else ''}{place})" in record.message
        assert stranger.poll() is None
    assert host.stage.log() == []


async def test_a_stranger_on_another_gpu_does_not_hinder(host: Host) -> None:
    for stranger in holder(host.stage, device="nvidia1"):
        record = await host.carry_out(order())
        assert record.state is RepairState.SUCCEEDED, record
        assert stranger.poll() is None


async def test_a_job_on_the_gpu_refuses_the_reset(host: Host) -> None:
    host.jobs.running = [HostJob("j-1", "a-1", ("GPU-0",))]
    record = await host.carry_out(order())
    assert record.state is RepairState.REFUSED
    assert "j-1" in record.message
    assert host.stage.log() == []
    assert host.jobs.stopped == []


async def test_jobs_are_stopped_first_where_the_order_may_stop_them(host: Host) -> None:
    for worker in holder(host.stage):
        host.jobs.running = [HostJob("j-1", "a-1", ("GPU-0",), frozenset({worker.pid}))]
        record = await host.carry_out(order(may_stop_jobs=True))
        assert record.state is RepairState.SUCCEEDED, record
    assert host.jobs.stopped == ["j-1"]


async def test_a_pending_remap_after_the_reset_fails_it(host: Host) -> None:
    host.hardware.samples["GPU-0"] = replace(
        host.hardware.samples["GPU-0"], remapped_rows=RemappedRows(0, 1, pending=True, failure=False)
    )
    record = await host.carry_out(order())
    assert record.state is RepairState.FAILED
    assert "nvml" in record.message
    assert host.stage.resets() == 1


async def test_a_fatal_condition_seen_during_the_verification_fails_it(host: Host) -> None:
    reads = 0

    def fall_ill() -> None:
        nonlocal reads
        reads += 1
        if reads == 2:
            host.health.now = [condition()]

    host.hardware.on_read = fall_ill
    record = await host.carry_out(order())
    assert record.state is RepairState.FAILED
    assert "conditions" in record.message


async def test_a_gpu_that_is_not_there_is_refused(host: Host) -> None:
    record = await host.carry_out(order(gpu_uuids=("GPU-0", "GPU-9")))
    assert record.state is RepairState.REFUSED
    assert "GPU-9" in record.message


async def test_virtual_gpus_are_reset_without_any_tool_of_the_real_host(stage: Stage) -> None:
    board = VirtualBoard()
    host = Host(stage, virtual=board, tools=False)
    host.hardware.list = (gpu(0), gpu(1))
    record = await host.carry_out(order(), host.engine(limits=replace(stage.limits(), device_prefix=DEVICE_PREFIX)))
    assert record.state is RepairState.SUCCEEDED, record
    assert board.done == ["reset GPU-0"]
    assert stage.log() == []
    assert any("carried out by the virtual GPUs" in step.detail for step in record.steps)
    host.hardware.stop_probe()


async def test_stand_ins_run_for_virtual_gpus_too_and_then_the_virtual_gpus_follow(stage: Stage) -> None:
    board = VirtualBoard()
    host = Host(stage, virtual=board)
    record = await host.carry_out(order())
    assert record.state is RepairState.SUCCEEDED, record
    assert board.done == ["reset GPU-0"]
    assert stage.resets() == 1
    assert stage.running_services() == set(HOLDING)
    host.hardware.stop_probe()


async def test_a_slow_command_is_waited_for_and_its_output_kept(host: Host) -> None:
    (host.stage.state / "slow-reset").touch()
    record = await host.carry_out(order())
    assert record.state is RepairState.SUCCEEDED, record
    assert any("reset done by the stand-in" in step.detail for step in record.steps)


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), ["GPU-0"]), ((8, 0), ["GPU-0"]), ((7, 0), ["GPU-0", "GPU-1", "GPU-2"])]
)
def test_before_ampere_gpus_joined_by_nvlink_are_reset_together(
    capability: tuple[int, int], expected: list[str]
) -> None:
    gpus = [
        gpu(0, capability=capability, peers=["GPU-1"]),
        gpu(1, capability=capability, peers=["GPU-0", "GPU-2"]),
        gpu(2, capability=capability, peers=["GPU-1"]),
        gpu(3, capability=capability),
    ]
    assert [found.uuid for found in reset_group(gpus, gpus[:1])] == expected


async def test_a_job_on_a_gpu_that_must_be_reset_together_refuses_it(host: Host) -> None:
    host.hardware.list = (gpu(0, capability=(7, 0), peers=["GPU-1"]), gpu(1, capability=(7, 0), peers=["GPU-0"]))
    host.jobs.running = [HostJob("j-1", "a-1", ("GPU-1",))]
    record = await host.carry_out(order())
    assert record.state is RepairState.REFUSED
    assert host.jobs.held == [("GPU-0", "GPU-1")]


async def test_dry_run_names_every_command_and_changes_nothing(host: Host) -> None:
    record = await host.engine().dry_run(order())
    assert record.state is RepairState.SUCCEEDED
    said = [step.name for step in record.steps]
    assert f"would do: {host.stage.tools}/nvidia-smi --gpu-reset -i 00000000:1B:00.0" in said
    assert any(name.endswith(f"systemctl stop -- {DCGM}") for name in said)
    assert host.stage.log() == []
    assert host.seen == []
    assert not list(host.stage.journal_dir.glob("*.json"))
    assert host.jobs.held == []


async def test_an_ordered_dry_run_is_recorded_and_says_what_would_hinder(host: Host) -> None:
    host.jobs.running = [HostJob("j-1", "a-1", ("GPU-0",))]
    record = await host.carry_out(order(dry_run=True))
    assert record.state is RepairState.REFUSED
    assert not all(step.ok for step in record.steps)
    assert host.stage.log() == []
    assert host.seen[-1] == record


@pytest.mark.parametrize("rung", [rung for rung in Rung if rung is not Rung.MOVE_JOB])
async def test_dry_run_of_every_rung_changes_nothing(host: Host, rung: Rung) -> None:
    made = order(rung, service=PERSISTENCED, process_ids=(host.stage.service_pid(DCGM) or 0,))
    record = await host.engine().dry_run(made)
    assert record.state.ended
    assert record.steps
    assert host.stage.log() == []
    assert host.stage.running_services() == set(HOLDING)
