"""Ending processes: only those that do harm, and for good."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from node_agent.health.model import Rung
from node_agent.repair import processes
from node_agent.repair.ending import Named, end_process
from node_agent.repair.model import Origin, RepairOrder, RepairState
from node_agent.repair.ports import HostJob
from tests.node_agent.repair.repair_host import Host, holder, reap
from tests.node_agent.repair.stage import DCGM
from tests.node_agent.repair.values import condition, order

_TOMORROW = datetime.now(UTC) + timedelta(days=1)


def stopping(*pids: int, **fields: object) -> RepairOrder:
    return replace(order(Rung.STOP_PROCESS, process_ids=pids), **fields)  # type: ignore[arg-type] # fields of an order


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "100000"])
    yield process
    process.kill()
    process.wait()


async def test_a_process_that_holds_the_gpu_is_ended_by_sigterm(host: Host) -> None:
    for process in holder(host.stage):
        record = await host.carry_out(stopping(process.pid))
        assert record.state is RepairState.SUCCEEDED, record
        assert reap(process) == -15


async def test_a_process_that_ignores_sigterm_is_killed(host: Host) -> None:
    limits = replace(host.stage.limits(), terminate_seconds=0.1)
    for process in holder(host.stage, deaf=True):
        record = await host.carry_out(stopping(process.pid), host.engine(limits=limits))
        assert record.state is RepairState.SUCCEEDED, record
        assert reap(process) == -9


async def test_a_process_that_holds_another_gpu_is_left_alone(host: Host) -> None:
    for process in holder(host.stage, device="nvidia1"):
        record = await host.carry_out(stopping(process.pid))
        assert record.state is RepairState.REFUSED
        assert process.poll() is None


async def test_a_process_that_a_condition_of_the_order_names_is_ended(
    host: Host, bystander: subprocess.Popen[bytes]
) -> None:
    named = condition(process_ids=(bystander.pid,), last_seen_at=_TOMORROW)
    host.health.now = [named]
    record = await host.carry_out(stopping(bystander.pid, condition_ids=(named.id,)))
    assert record.state is RepairState.SUCCEEDED, record
    assert reap(bystander) == -15


async def test_a_process_that_neither_holds_nor_is_named_is_left_alone(
    host: Host, bystander: subprocess.Popen[bytes]
) -> None:
    host.health.now = [condition(process_ids=(bystander.pid,), last_seen_at=_TOMORROW)]
    record = await host.carry_out(stopping(bystander.pid, condition_ids=("another",)))
    assert record.state is RepairState.REFUSED
    assert bystander.poll() is None


async def test_a_process_that_took_the_id_after_the_trouble_is_left_alone(
    host: Host, bystander: subprocess.Popen[bytes]
) -> None:
    old = condition(process_ids=(bystander.pid,), last_seen_at=datetime.now(UTC) - timedelta(minutes=5))
    host.health.now = [old]
    record = await host.carry_out(stopping(bystander.pid, condition_ids=(old.id,)))
    assert record.state is RepairState.REFUSED
    assert "another process had this id" in record.message
    assert bystander.poll() is None


async def test_the_first_process_the_daemon_its_parents_and_supervisors_are_never_stopped(
    host: Host, bystander: subprocess.Popen[bytes]
) -> None:
    host.jobs.supervisors = frozenset({bystander.pid})
    pids = (1, os.getpid(), os.getppid(), bystander.pid)
    named = condition(process_ids=pids, last_seen_at=_TOMORROW)
    host.health.now = [named]
    for number, pid in enumerate(pids):
        record = await host.carry_out(stopping(pid, id=f"r-{number}", condition_ids=(named.id,)))
        assert record.state is RepairState.REFUSED, record
    assert bystander.poll() is None


async def test_threads_of_the_kernel_are_never_stopped(host: Host) -> None:
    threads = [pid for pid in processes.all_pids() if (found := processes.look(pid)) and found.kernel_thread]
    if not threads:
        pytest.skip("this host shows no threads of the kernel")
    named = condition(process_ids=(threads[0],), last_seen_at=_TOMORROW)
    host.health.now = [named]
    record = await host.carry_out(stopping(threads[0], condition_ids=(named.id,)))
    assert record.state is RepairState.REFUSED
    assert "kernel" in record.message


async def test_the_process_of_a_job_is_stopped_through_its_job(host: Host) -> None:
    for process in holder(host.stage):
        host.jobs.running = [HostJob("j-1", "a-1", ("GPU-0",), frozenset({process.pid}))]
        record = await host.carry_out(stopping(process.pid))
        assert record.state is RepairState.SUCCEEDED, record
        assert host.jobs.stopped == ["j-1"]
        assert reap(process) == -9, "by its job, not by the repair's SIGTERM"


async def test_a_local_policy_that_spares_jobs_spares_their_processes(host: Host) -> None:
    for process in holder(host.stage):
        host.jobs.running = [HostJob("j-1", "a-1", ("GPU-0",), frozenset({process.pid}))]
        record = await host.carry_out(stopping(process.pid, origin=Origin.LOCAL_POLICY, policy_version=1))
        assert record.state is RepairState.REFUSED
        assert process.poll() is None


async def test_a_process_that_is_gone_already_is_fine(host: Host, bystander: subprocess.Popen[bytes]) -> None:
    bystander.kill()
    bystander.wait()
    record = await host.carry_out(stopping(bystander.pid))
    assert record.state is RepairState.SUCCEEDED, record


async def test_no_process_at_all_is_refused(host: Host) -> None:
    assert (await host.carry_out(stopping())).state is RepairState.REFUSED


async def test_another_process_under_the_same_id_is_not_signalled(bystander: subprocess.Popen[bytes]) -> None:
    found = processes.look(bystander.pid)
    assert found is not None
    said = await end_process(Named(found.pid, found.start_ticks - 1), terminate_seconds=1, kill_seconds=1)
    assert "gone already" in said
    assert bystander.poll() is None


async def test_dry_run_says_which_signal_goes_where(host: Host) -> None:
    for process in holder(host.stage):
        record = await host.engine().dry_run(stopping(process.pid))
        assert any("SIGTERM" in step.name and str(process.pid) in step.name for step in record.steps)
        assert process.poll() is None


async def test_a_service_that_holds_the_gpu_is_named_by_its_process(host: Host) -> None:
    pid = host.stage.service_pid(DCGM)
    assert pid is not None
    record = await host.carry_out(stopping(pid))
    assert record.state is RepairState.SUCCEEDED, "without systemd it is a process like any other"
