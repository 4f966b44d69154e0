"""Restarts, reloads, reboots, quarantines and verifications."""

import asyncio
import json
import os
import signal
from dataclasses import replace

import pytest

from node_agent.health.model import Evidence, Rung, Source
from node_agent.repair.arguments import FABRIC_MANAGER
from node_agent.repair.codec import MAXIMUM_HANDOFF
from node_agent.repair.holders import DEVICE_PREFIX
from node_agent.repair.model import CheckOutcome, RepairRecord, RepairState
from node_agent.repair.ports import HostJob
from tests.node_agent.repair.doubles import VirtualBoard
from tests.node_agent.repair.repair_host import Host, ended, holder, running, until_true
from tests.node_agent.repair.stage import DCGM, HOLDING, PERSISTENCED, Stage
from tests.node_agent.repair.values import condition, order


async def test_a_service_of_the_list_is_restarted_and_seen_to_be_active(host: Host) -> None:
    before = host.stage.service_pid(DCGM)
    record = await host.carry_out(order(Rung.RESTART_SERVICE, service="nvidia-dcgm"))
    assert record.state is RepairState.SUCCEEDED, record
    assert host.stage.log() == [f"systemctl restart -- {DCGM}"]
    assert host.stage.service_pid(DCGM) != before


@pytest.mark.parametrize(
    "service", ["sshd.service", "../x", "--now", "nvidia-dcgm.service;reboot", "", "nvidia-dcgm.service\n", "a" * 5000]
)
async def test_any_other_service_is_refused(host: Host, service: str) -> None:
    record = await host.carry_out(order(Rung.RESTART_SERVICE, service=service))
    assert record.state is RepairState.REFUSED
    assert host.stage.log() == []


async def test_a_restart_that_fails_leaves_the_service_running(host: Host) -> None:
    host.stage.fail(f"restart-{DCGM}")
    record = await host.carry_out(order(Rung.RESTART_SERVICE, service=DCGM))
    assert record.state is RepairState.FAILED
    assert host.stage.running_services() == set(HOLDING)


async def test_a_service_that_is_not_installed_is_refused(host: Host) -> None:
    record = await host.carry_out(order(Rung.RESTART_SERVICE, service=FABRIC_MANAGER))
    assert record.state is RepairState.REFUSED
    assert "not-found" in record.message


async def test_the_fabric_manager_is_not_restarted_under_jobs(host: Host) -> None:
    (host.stage.state / f"installed-{FABRIC_MANAGER}").touch()
    host.jobs.running = [HostJob("j-1", "a-1", ("GPU-1",))]
    record = await host.carry_out(order(Rung.RESTART_SERVICE, service=FABRIC_MANAGER))
    assert record.state is RepairState.REFUSED
    assert "j-1" in record.message
    assert host.jobs.held == [()]


async def test_the_driver_is_unloaded_in_order_and_loaded_in_reverse(host: Host) -> None:
    record = await host.carry_out(order(Rung.RELOAD_DRIVER, gpu_uuids=()))
    assert record.state is RepairState.SUCCEEDED, record
    assert [line for line in host.stage.log() if line.startswith("modprobe")] == [
        "modprobe -r -- nvidia_uvm",
        "modprobe -r -- nvidia",
        "modprobe -- nvidia",
        "modprobe -- nvidia_uvm",
    ]
    assert host.stage.running_services() == set(HOLDING)


async def test_a_module_that_stays_is_left_and_the_others_are_loaded_again(host: Host) -> None:
    host.stage.fail("unload-nvidia")
    record = await host.carry_out(order(Rung.RELOAD_DRIVER, gpu_uuids=()))
    assert record.state is RepairState.FAILED
    assert {line.split()[0] for line in (host.stage.state / "modules").read_text().splitlines()} == {
        "nvidia", "nvidia_uvm", "xfs",
    }  # fmt: skip
    assert host.stage.running_services() == set(HOLDING)


async def test_the_driver_is_not_reloaded_under_a_stranger(host: Host) -> None:
    for stranger in holder(host.stage, device="nvidia1"):
        record = await host.carry_out(order(Rung.RELOAD_DRIVER, gpu_uuids=()))
        assert record.state is RepairState.REFUSED
        assert str(stranger.pid) in record.message


async def test_a_reboot_that_does_not_come_within_its_time_fails(host: Host) -> None:
    record = await host.carry_out(order(Rung.REBOOT_HOST))
    assert record.state is RepairState.FAILED
    assert "same boot" in record.message
    assert host.stage.log() == ["systemctl reboot"]


async def test_a_reboot_that_ends_the_daemon_goes_on_in_the_next_boot(host: Host) -> None:
    engine = host.engine(limits=replace(host.stage.limits(), reboot_seconds=600.0))
    engine.order(order(Rung.REBOOT_HOST))
    async with running(engine):
        await until_true(lambda: "systemctl reboot" in host.stage.log() and bool(engine.records()[0].steps))
    assert not engine.records()[0].state.ended
    after = host.engine(boot_id="boot-two")
    async with running(after):
        record = await ended(after, "r-1")
    assert record.state is RepairState.SUCCEEDED, record
    assert host.stage.log() == ["systemctl reboot"]
    assert record.checks


async def test_a_reboot_whose_command_is_ended_by_the_shutdown_goes_on_in_the_next_boot(host: Host) -> None:
    told = host.stage.state / "rebooting"
    (host.stage.tools / "systemctl").write_text(
        f'#!/bin/sh\necho $$ > "{told}.part"; mv "{told}.part" "{told}"\nexec sleep 1000\n'
    )
    engine = host.engine()
    engine.order(order(Rung.REBOOT_HOST))
    async with running(engine):
        await until_true(told.exists)
        asyncio.get_running_loop().call_later(0.2, os.kill, int(told.read_text()), signal.SIGTERM)
    assert not host.seen[-1].state.ended
    record = await ended_after_boot(host)
    assert record.state is RepairState.SUCCEEDED, record


async def ended_after_boot(host: Host) -> RepairRecord:
    engine = host.engine(boot_id="another boot")
    async with running(engine):
        return await ended(engine, "r-1")


async def test_a_host_is_not_rebooted_in_a_circle(host: Host) -> None:
    for number in range(3):
        await host.carry_out(order(Rung.REBOOT_HOST, f"r-{number}"))
    record = await host.carry_out(order(Rung.REBOOT_HOST, "r-3"))
    assert record.state is RepairState.REFUSED
    assert "circle" in record.message
    assert len(host.stage.log()) == 3


async def test_a_reboot_is_refused_while_jobs_run(host: Host) -> None:
    host.jobs.running = [HostJob("j-1", "a-1", ())]
    record = await host.carry_out(order(Rung.REBOOT_HOST))
    assert record.state is RepairState.REFUSED
    assert host.stage.log() == []


async def test_virtual_gpus_are_rebooted_within_the_daemon(stage: Stage) -> None:
    board = VirtualBoard()
    host = Host(stage, virtual=board, tools=False)
    limits = replace(stage.limits(), device_prefix=DEVICE_PREFIX)
    record = await host.carry_out(order(Rung.REBOOT_HOST), host.engine(limits=limits))
    assert record.state is RepairState.SUCCEEDED, record
    assert board.done == ["reboot"]
    canary = next(check for check in record.checks if check.name == "canary")
    assert canary.outcome is CheckOutcome.PASSED
    assert "virtual" in canary.detail
    host.hardware.stop_probe()


async def test_moving_a_job_is_refused(host: Host) -> None:
    record = await host.carry_out(order(Rung.MOVE_JOB))
    assert record.state is RepairState.REFUSED


async def test_a_quarantine_hands_over_what_is_known(host: Host) -> None:
    line = Evidence("e-1", Source.KERNEL, "NVRM: Xid (PCI:0000:1b:00): 79", condition().first_seen_at)
    host.health.now = [replace(condition(), evidence=(line,)), condition(gpu_uuid="GPU-1")]
    host.stage.fail("reset")
    await host.carry_out(order(repair_id="r-0"))
    record = await host.carry_out(order(Rung.QUARANTINE))
    assert record.state is RepairState.SUCCEEDED, record
    report = json.loads(record.handoff_json)
    assert report["node_id"] == "n-1"
    assert [found["serial"] for found in report["gpus"]] == ["1650", "1651"]
    assert [found["id"] for found in report["conditions"]] == ["gpu/GPU-0/xid"]
    assert report["kernel_lines"][0]["line"] == line.text
    assert report["repairs"][0]["id"] == "r-0"
    assert report["bug_report"].endswith("nvidia-bug-report-r-1.log.gz")
    assert host.stage.running_services() == set(HOLDING)


async def test_a_bug_report_that_fails_does_not_fail_the_quarantine(host: Host) -> None:
    host.stage.fail("bug-report")
    record = await host.carry_out(order(Rung.QUARANTINE))
    assert record.state is RepairState.SUCCEEDED, record
    assert json.loads(record.handoff_json)["bug_report"].startswith("none")


async def test_a_hand_off_report_keeps_its_bound(host: Host) -> None:
    evidence = tuple(Evidence(f"e-{n}", Source.KERNEL, "é" * 500, condition().first_seen_at) for n in range(8))
    host.health.now = [replace(condition(identity=f"c-{n}"), evidence=evidence) for n in range(500)]
    record = await host.carry_out(order(Rung.QUARANTINE))
    assert record.state is RepairState.SUCCEEDED, record
    assert len(record.handoff_json) <= MAXIMUM_HANDOFF
    assert json.loads(record.handoff_json)["left_out"]["conditions"] > 0


async def test_a_verification_alone_changes_nothing(host: Host) -> None:
    record = await host.carry_out(order(Rung.VERIFY))
    assert record.state is RepairState.SUCCEEDED, record
    assert host.stage.log() == []
    assert record.steps == ()


async def test_a_gpu_with_a_job_is_looked_at_but_not_loaded(host: Host) -> None:
    host.jobs.running = [HostJob("j-1", "a-1", ("GPU-0",))]
    record = await host.carry_out(order(Rung.VERIFY))
    assert record.state is RepairState.SUCCEEDED, record
    canary = next(check for check in record.checks if check.name == "canary")
    assert canary.outcome is CheckOutcome.NOT_CHECKED
    assert "j-1" in canary.detail


async def test_nvml_that_does_not_answer_fails_the_verification(host: Host) -> None:
    host.hardware.nvml_error = "TIMEOUT"
    record = await host.carry_out(order(Rung.VERIFY))
    assert record.state is RepairState.FAILED
    assert "nvml" in record.message


async def test_a_host_without_gpus_says_that_it_has_none(host: Host) -> None:
    host.hardware.list = ()
    record = await host.carry_out(order(Rung.VERIFY, gpu_uuids=()))
    assert record.state is RepairState.SUCCEEDED, record
    nvml = next(check for check in record.checks if check.name == "nvml")
    assert nvml.outcome is CheckOutcome.NOT_CHECKED


async def test_persistenced_is_among_what_may_be_restarted(host: Host) -> None:
    record = await host.carry_out(order(Rung.RESTART_SERVICE, service=PERSISTENCED))
    assert record.state is RepairState.SUCCEEDED, record
