"""What the daemon finds on its host, and what it notices later."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.convert import to_telemetry
from node_agent.errors import SettingsInvalid
from node_agent.hardware import Hardware, find_hardware
from node_agent.jobs.spec import MemberKey
from node_agent.jobs.status import MemberState, MemberStatus
from node_agent.link.tls import Address
from node_agent.probe.observations import NvmlXid
from node_agent.settings import Engine, Settings
from node_agent.virtual.fault import BadFault, VirtualFault, VirtualFaultKind, VirtualRepair


class SetClock(SystemClock):
    """A clock whose monotonic time is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@asynccontextmanager
async def found(directory: Path, clock: SystemClock, **settings: object) -> AsyncIterator[Hardware]:
    made = Settings(state_dir=directory, **settings)  # type: ignore[arg-type] # names are the caller's
    hardware = await find_hardware(
        made,
        node_id="n-1",
        link_server=Address("127.0.0.1", 50052),
        clock=clock,
        agent_version="1.2.3",
        cgroup_parent="/orquanta-test",
    )
    try:
        yield hardware
    finally:
        hardware.close()


async def test_a_host_without_gpus_is_a_host_for_cpu_jobs(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), container_engine=Engine.NONE) as hardware:
        if hardware.inventory.gpus:
            pytest.skip("this host has GPUs")
        assert not hardware.virtual
        assert hardware.inventory.cpu_count > 0
        assert hardware.inventory.container_engine == ""
        assert list((await hardware.sample()).gpus) == []


async def test_mig_devices_are_told_with_their_profiles_and_lead_to_their_gpu(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), virtual_gpus="1xL4+1xH100/3g.40gb/2x1g.10gb") as hardware:
        whole, divided = hardware.inventory.gpus
        assert [part.profile for part in divided.mig_devices] == ["3g.40gb", "1g.10gb", "1g.10gb"]
        assert not whole.mig_devices
        assert [hardware.gpu_of(part.uuid) for part in divided.mig_devices] == [divided.uuid] * 3
        assert hardware.gpu_of(whole.uuid) == whole.uuid
    with pytest.raises(SettingsInvalid, match="do not fit"):
        async with found(tmp_path, SystemClock(), virtual_gpus="1xH100/3x4g.40gb"):
            pass


async def test_a_gpu_that_is_lost_changes_the_inventory_within_a_minute(tmp_path: Path) -> None:
    clock = SetClock()
    async with found(tmp_path, clock, virtual_gpus="2xH100") as hardware:
        first = hardware.inventory
        await hardware.inject(VirtualFault(VirtualFaultKind.GPU_LOST, first.gpus[1].uuid))
        await hardware.sample()
        assert hardware.inventory is first
        clock.seconds += 61
        await hardware.sample()
        assert hardware.inventory is not first
        assert hardware.inventory.gpus[1].uuid == first.gpus[1].uuid
        assert hardware.inventory.gpus[1].pci_bus_id == first.gpus[1].pci_bus_id
        assert [gpu.error for gpu in hardware.inventory.gpus] == ["", "GPU_IS_LOST"]


async def test_an_inventory_that_is_the_same_is_not_replaced(tmp_path: Path) -> None:
    clock = SetClock()
    async with found(tmp_path, clock, virtual_gpus="2xH100") as hardware:
        first = hardware.inventory
        clock.seconds += 61
        await hardware.sample()
        assert hardware.inventory is first


async def test_virtual_gpus_show_the_jobs_that_hold_them(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), virtual_gpus="2xH100") as hardware:
        uuid = hardware.inventory.gpus[0].uuid
        status = MemberStatus(MemberKey("a-1", 0), "j-1", 1, MemberState.RUNNING, pid=1, gpu_uuids=(uuid,))
        hardware.follow_jobs([status])
        busy = {gpu.uuid: gpu.processes for gpu in (await hardware.sample()).gpus}
        assert [process.pid for process in busy[uuid] or ()] == [1]
        hardware.follow_jobs([])
        assert all(gpu.processes == () for gpu in (await hardware.sample()).gpus)


async def test_the_same_node_has_the_same_virtual_gpus_again(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), virtual_gpus="2xH100") as hardware:
        first = [gpu.uuid for gpu in hardware.inventory.gpus]
    async with found(tmp_path, SystemClock(), virtual_gpus="2xH100") as hardware:
        assert [gpu.uuid for gpu in hardware.inventory.gpus] == first


async def test_virtual_gpus_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"virtual_gpus is '8xFOO'.*unknown GPU model"):
        async with found(tmp_path, SystemClock(), virtual_gpus="8xFOO"):
            pass


async def test_the_address_can_be_given(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), address="10.1.2.3") as hardware:
        assert hardware.inventory.address == "10.1.2.3"


async def test_what_is_sent_holds_links_rows_margin_and_memory_temperature(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), virtual_gpus="1xH100+1xT4") as hardware:
        uuid = hardware.inventory.gpus[0].uuid
        await hardware.inject(VirtualFault(VirtualFaultKind.ROW_REMAP_FAILED, uuid, 3))
        await hardware.inject(VirtualFault(VirtualFaultKind.NVLINK_DOWN, uuid, 0))
        hopper, turing = to_telemetry(await hardware.sample()).gpus
    assert (hopper.remapped_rows_uncorrectable, hopper.nvlinks_active) == (3, 17)
    assert hopper.temperature_margin_celsius == 87 - hopper.temperature_celsius
    assert hopper.memory_temperature_celsius > hopper.temperature_celsius
    for name in ("remapped_rows_uncorrectable", "nvlinks_active", "memory_temperature_celsius"):
        assert not turing.HasField(name), name


async def test_a_fault_is_put_in_cured_by_its_repair_and_told(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), virtual_gpus="2xH100") as hardware:
        first, second = (gpu.uuid for gpu in hardware.inventory.gpus)
        await hardware.inject(VirtualFault(VirtualFaultKind.GPU_LOST, first, 3))
        await hardware.inject(VirtualFault(VirtualFaultKind.XID, first, 79))
        assert [gpu.error for gpu in (await hardware.read(fresh=True)).gpus] == ["GPU_IS_LOST", None]
        told = await hardware.observations.take()
        assert isinstance(told, NvmlXid)
        assert (told.code, told.gpu_uuid) == (79, first)
        await hardware.release_gpus()
        assert "still there: gpu_lost" in await hardware.reset_virtual([first])
        assert "cured gpu_lost" in await hardware.reset_virtual(repair=VirtualRepair.REBOOT)
        assert [gpu.error for gpu in (await hardware.read()).gpus] == ["UNINITIALIZED"] * 2
        await hardware.reacquire()
        assert [gpu.error for gpu in (await hardware.read(fresh=True)).gpus] == [None, None]
        await hardware.inject(VirtualFault(VirtualFaultKind.THERMAL, second, 99))
        await hardware.clear_virtual()
        assert (await hardware.read(fresh=True)).gpus[1].temperature_celsius != 99


async def test_virtual_gpus_keep_their_faults_when_the_daemon_is_replaced(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), virtual_gpus="1xH100") as hardware:
        await hardware.inject(VirtualFault(VirtualFaultKind.GPU_LOST, hardware.inventory.gpus[0].uuid))
    async with found(tmp_path, SystemClock(), virtual_gpus="1xH100") as hardware:
        assert [gpu.error for gpu in (await hardware.sample()).gpus] == ["GPU_IS_LOST"]


async def test_real_gpus_take_no_faults(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), container_engine=Engine.NONE) as hardware:
        with pytest.raises(BadFault, match="--virtual-gpus"):
            await hardware.inject(VirtualFault(VirtualFaultKind.GPU_LOST, "GPU-1"))
        with pytest.raises(BadFault, match="--virtual-gpus"):
            await hardware.reset_virtual()
        with pytest.raises(BadFault, match="--virtual-gpus"):
            await hardware.clear_virtual()


async def test_while_the_probe_is_away_samples_name_the_gpus_and_the_reason(tmp_path: Path) -> None:
    async with found(tmp_path, SystemClock(), virtual_gpus="2xH100") as hardware:
        for pid in hardware.process_ids:
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while (batch := await hardware.sample()).nvml_error is None:  # noqa: ASYNC110 - a process ends by itself
                await asyncio.sleep(0.02)
        assert batch.nvml_error == "PROBE_DIED"
        assert [(gpu.uuid, gpu.error) for gpu in batch.gpus] == [
            (gpu.uuid, "PROBE_DIED") for gpu in hardware.inventory.gpus
        ]
        assert batch.host.memory_total_bytes
