"""The probe as the daemon sees it, with real processes that hang, die, and are killed."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node_agent.probe import child_process
from node_agent.probe.child_process import ProbeProcess, RequestFailed, VirtualGpuSettings
from node_agent.probe.client import MAXIMUM_STUCK
from node_agent.probe.errors import BadVirtualGpus, GpusHeld, ProbeAway
from node_agent.probe.observations import NvmlXid
from node_agent.virtual.fault import VirtualFault
from node_agent.virtual.fault import VirtualFaultKind as Kind
from tests.node_agent.probe.probes import PATIENT, WAIT_SECONDS, Probe, is_gone, probing, until

HOUR = 3600
HASTY = replace(PATIENT, sample=3.0)
"""For calls that hang; whatever else is asked must not be asked with it, for a busy machine may be as slow."""


def doing(probe: Probe) -> str:
    """What the probe's driver call is now."""
    process = probe.client._probe
    return "" if process is None else process.doing


def kill_all(process_ids: Iterable[int]) -> None:
    for pid in process_ids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_a_probe_reads_all_gpus() -> None:
    async with probing(spec="4xH100+2xL4") as probe:
        reading = await probe.client.read()
        assert [gpu.uuid for gpu in reading.gpus] == probe.uuids
        assert reading.nvml_error is None
        assert [gpu.nvlinks_active for gpu in reading.gpus] == [18, 18, 18, 18, None, None]
        assert probe.observed == []


async def test_without_a_driver_there_are_no_gpus_and_the_reason_is_told() -> None:
    async with probing(spec="") as probe:
        assert probe.client.inventory is not None
        if probe.client.inventory.gpus:
            pytest.skip("this host has GPUs")
        assert probe.client.inventory.nvml_error == "LIBRARY_NOT_FOUND"
        assert (await probe.client.read()).gpus == ()


async def test_a_call_that_hangs_is_told_by_name_and_its_probe_is_killed_and_replaced(tmp_path: Path) -> None:
    async with probing(tmp_path / "faults.json") as probe:
        uuid = probe.uuids[1]
        (hung,) = probe.client.process_ids
        await probe.inject(VirtualFault(Kind.HANG, uuid, HOUR, times=1, call="nvmlDeviceGetMemoryInfo"))
        probe.expect(HASTY)
        with pytest.raises(ProbeAway, match="PROBE_STALLED"):
            await probe.client.read()
        probe.expect(PATIENT)
        (stall,) = probe.stalls
        assert (stall.probe, stall.ended) == ("nvml", False)
        assert stall.doing == f"nvmlDeviceGetMemoryInfo of {uuid}"
        reading = await probe.read_again()
        assert [gpu.error for gpu in reading.gpus] == [None, None]
        assert [seen.ended for seen in probe.stalls] == [False, True]
        assert probe.stalls[1].seconds >= stall.seconds
        assert is_gone(hung)
        assert hung not in probe.client.process_ids
        assert (probe.client.stats.stalls, probe.client.stats.deaths) == (1, 0)


async def test_a_driver_that_hangs_each_time_is_told_each_time_until_it_is_cured(tmp_path: Path) -> None:
    async with probing(tmp_path / "faults.json") as probe:
        await probe.inject(VirtualFault(Kind.HANG, probe.uuids[0], HOUR, times=0, call="nvmlDeviceGetName"))
        probe.expect(replace(PATIENT, inventory=0.5))
        with pytest.raises(ProbeAway):
            await probe.client.look()
        await until(lambda: len(probe.stalls) >= 3)
        assert not any(stall.ended for stall in probe.stalls)
        probe.expect(replace(PATIENT, inventory=5.0))  # the one that has read of the fault still hangs
        (tmp_path / "faults.json").unlink()  # what a reload of the driver does, said behind the probe's back
        await probe.read_again()
        assert probe.stalls[-1].ended


async def test_the_loop_goes_on_while_a_call_hangs() -> None:
    async with probing() as probe:
        await probe.inject(VirtualFault(Kind.HANG, probe.uuids[0], HOUR))
        reading = asyncio.create_task(probe.client.read())
        await until(lambda: "nvmlDeviceGetPowerUsage" in doing(probe))
        for _ in range(10):
            await asyncio.sleep(0.001)
            assert not reading.done()
        kill_all(probe.client.process_ids)
        with pytest.raises(ProbeAway):
            await reading


async def test_a_probe_that_is_killed_is_started_again() -> None:
    async with probing() as probe:
        (first,) = probe.client.process_ids
        os.kill(first, signal.SIGKILL)
        await until(lambda: probe.client.stats.deaths == 1)
        assert len((await probe.read_again()).gpus) == 2
        (second,) = probe.client.process_ids
        assert second != first
        assert [stall.ended for stall in probe.stalls] == [True]


async def test_a_probe_that_dies_again_and_again_is_told() -> None:
    async with probing(spec="1xH100") as probe:
        async with asyncio.timeout(WAIT_SECONDS):
            while probe.client.stats.deaths < 3:
                kill_all(probe.client.process_ids)
                await asyncio.sleep(0.02)
        assert [stall.ended for stall in probe.stalls] == [False]
        assert "3 times in a row" in probe.stalls[0].doing
        await probe.read_again()
        assert probe.stalls[-1].ended


async def test_faults_outlive_the_probe_that_is_killed(tmp_path: Path) -> None:
    async with probing(tmp_path / "faults.json") as probe:
        await probe.inject(VirtualFault(Kind.ROW_REMAP_PENDING, probe.uuids[0], 2))
        kill_all(probe.client.process_ids)
        await until(lambda: probe.client.stats.deaths == 1)
        rows = (await probe.read_again()).gpus[0].remapped_rows
        assert rows is not None
        assert (rows.uncorrectable, rows.pending) == (2, True)


async def test_an_xid_is_told_the_moment_it_comes_and_without_a_sample() -> None:
    async with probing() as probe:
        uuid = probe.uuids[1]
        await probe.inject(VirtualFault(Kind.XID, uuid, 79, times=2))
        await until(lambda: len(probe.observed) == 2)
        (xid, again) = probe.observed
        assert isinstance(xid, NvmlXid)
        assert (xid.code, xid.gpu_uuid, xid.pci_bus_id, xid.gpu_instance_id) == (79, uuid, "0000:43:00.0", None)
        assert isinstance(again, NvmlXid)


async def test_released_gpus_are_open_in_no_process_and_come_back_when_reacquired() -> None:
    async with probing() as probe:
        await probe.client.release()
        for _ in range(2):
            reading = await probe.client.read()
            assert reading.nvml_error == "UNINITIALIZED"
            assert {gpu.error for gpu in reading.gpus} == {"UNINITIALIZED"}
        with pytest.raises(ProbeAway):
            await probe.client.look()  # it would open them
        await probe.client.reacquire()
        reading = await probe.client.read()
        assert (reading.nvml_error, [gpu.error for gpu in reading.gpus]) == (None, [None, None])
        await probe.inject(VirtualFault(Kind.XID, probe.uuids[0], 31))
        await until(lambda: len(probe.observed) == 1)


async def test_a_probe_that_is_replaced_while_the_gpus_are_let_go_of_does_not_open_them() -> None:
    async with probing() as probe:
        await probe.client.release()
        kill_all(probe.client.process_ids)
        await until(lambda: probe.client.stats.starts == 2)
        assert (await probe.read_again()).nvml_error == "UNINITIALIZED"
        await probe.client.reacquire()
        assert (await probe.client.read()).nvml_error is None


async def test_a_probe_that_hangs_is_killed_rather_than_waited_for_when_gpus_are_let_go_of() -> None:
    async with probing() as probe:
        (hung,) = probe.client.process_ids
        await probe.inject(VirtualFault(Kind.HANG, probe.uuids[0], HOUR))
        probe.expect(replace(PATIENT, sample=0.5))
        reading = asyncio.create_task(probe.client.read())
        await asyncio.sleep(0)
        await probe.client.release()
        assert is_gone(hung)
        with pytest.raises(ProbeAway):
            await reading


async def test_a_fault_that_no_gpu_can_have_is_refused_and_the_probe_lives_on() -> None:
    async with probing() as probe:
        with pytest.raises(RequestFailed, match="18 NVLinks") as refused:
            await probe.inject(VirtualFault(Kind.NVLINK_DOWN, probe.uuids[0], 30))
        assert refused.value.word == "bad_fault"
        with pytest.raises(RequestFailed, match="no GPU"):
            await probe.inject(VirtualFault(Kind.THERMAL, "GPU-0", 90))
        assert probe.client.stats.deaths == 0


async def test_a_bug_in_the_probe_costs_a_process_and_nothing_else() -> None:
    async with probing() as probe:
        with pytest.raises(ProbeAway, match="PROBE_DIED"):
            await probe.client.control("no such operation")
        assert len((await probe.read_again()).gpus) == 2


async def test_virtual_gpus_that_cannot_be_read_are_named() -> None:
    with pytest.raises(BadVirtualGpus, match="unknown GPU model"):
        async with probing(spec="8xFOO"):
            pass


class Undying:
    """A process that the kernel does not let go of, as one in an uninterruptible call, until it is told to."""

    def __init__(self, process: child_process.Exit, let_go: asyncio.Event) -> None:
        self._process = process
        self._let_go = let_go

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        found = self._process.poll()
        return found if self._let_go.is_set() else None

    def kill(self) -> None:
        self._process.kill()


async def test_probes_that_cannot_be_buried_are_given_up_and_at_most_two_are_kept() -> None:
    let_go = asyncio.Event()

    async def spawn(
        virtual: VirtualGpuSettings | None, on_event: Callable[[str, Any], None], on_end: Callable[[], None]
    ) -> ProbeProcess:
        probe = await child_process.spawn(virtual, on_event, on_end)
        probe.process = Undying(probe.process, let_go)
        return probe

    async with probing(deadlines=replace(PATIENT, bury=0.05), spawn=spawn) as probe:
        killed: frozenset[int] = frozenset()
        for stuck in range(1, MAXIMUM_STUCK + 1):
            await probe.read_again()
            kill_all(probe.client.process_ids - killed)
            killed = probe.client.process_ids
            await until(lambda stuck=stuck: probe.client.stats.stuck == stuck)  # type: ignore[misc] # a default binds it
        with pytest.raises(GpusHeld, match="only a reboot"):
            await probe.client.release()
        probe.client.held = False
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                with pytest.raises(ProbeAway) as away:
                    await probe.client.read()
                if away.value.error == "PROBE_STUCK":
                    break
                await asyncio.sleep(0.02)
        assert len(probe.client.process_ids) == MAXIMUM_STUCK
        assert probe.client.stats.starts == MAXIMUM_STUCK
        let_go.set()
        assert len((await probe.read_again()).gpus) == 2
        assert len(probe.client.process_ids) == 1


DAEMON = """
import asyncio, sys
from node_agent.clock import SystemClock
from node_agent.probe.child_process import VirtualGpuSettings
from node_agent.probe.client import ProbeClient

async def main():
    client = ProbeClient(VirtualGpuSettings("1xH100", "x"), observe=print, clock=SystemClock())
    await client.start()
    if sys.argv[1] == "hangs":
        uuid = client.inventory.gpus[0].uuid
        await client.control("inject", ["hang", uuid, 3600, 1, 0, "nvmlDeviceGetPowerUsage", None])
        reading = asyncio.create_task(client.read())
        await asyncio.sleep(0.2)
    print(*client.process_ids, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.parametrize("child", ["idle", "hangs"])
async def test_a_probe_ends_with_its_daemon_however_that_ends(child: str) -> None:
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-c", DAEMON, child, stdout=asyncio.subprocess.PIPE)
    try:
        assert daemon.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            pid = int(await daemon.stdout.readline())
        assert not is_gone(pid)
    finally:
        daemon.kill()
        await daemon.wait()
    await until(lambda: is_gone(pid))
