"""What the daemon finds on its host, and what it notices later."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.errors import SettingsInvalid
from node_agent.hardware import Hardware, find_hardware
from node_agent.jobs.spec import MemberKey
from node_agent.jobs.status import MemberState, MemberStatus
from node_agent.link.tls import Address
from node_agent.settings import Engine, Settings
from node_agent.virtual.fault import VirtualFault, VirtualFaultKind


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
