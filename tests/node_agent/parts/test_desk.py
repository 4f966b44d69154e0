"""Events, conditions and saved state always agree, whoever is killed when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.health.model import Change, GpuIdentity
from node_agent.health.rules import HealthRules
from node_agent.parts.desk import HealthDesk, open_engine
from node_agent.probe.kernel.reader import LogPosition
from node_agent.probe.observations import KernelLine, XidReport
from node_agent.spool.spool import Spool

GPU = GpuIdentity("GPU-1", 0, "0000:1b:00.0", "H100")
CLOCK = SystemClock()


def xid(sequence: int, code: int = 79) -> XidReport:
    line = KernelLine(sequence, 1.0, 3, f"NVRM: Xid (PCI:0000:1b:00): {code}, text", datetime.now(UTC))
    return XidReport(line, code, GPU.pci_bus_id, None, "", "text")


@asynccontextmanager
async def desk_on(directory: Path) -> AsyncIterator[tuple[HealthDesk, Spool]]:
    async with Spool(directory, CLOCK) as spool:
        running = asyncio.ensure_future(spool.run())
        try:
            desk = HealthDesk(open_engine(spool, HealthRules(), CLOCK), spool, CLOCK)
            await desk.tell(desk.engine.set_gpus([GPU]))
            yield desk, spool
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def records(spool: Spool) -> list[str]:
    batch = await spool.read_from(1)
    assert batch is not None
    return [record.health_event.condition.id for record in batch.records]


async def test_a_fault_its_event_and_the_place_in_the_kernel_log_are_stored_together(tmp_path: Path) -> None:
    async with desk_on(tmp_path) as (desk, spool):
        assert desk.kernel_position() is None
        await desk.take_kernel([xid(41), xid(42)], "boot-1")
        told = await records(spool)
        assert len(told) == 1
        assert desk.kernel_position() == LogPosition("boot-1", 42)
    async with desk_on(tmp_path) as (desk, spool):
        assert desk.kernel_position() == LogPosition("boot-1", 42)
        assert [found.id for found in desk.conditions()] == told
        assert await records(spool) == told


async def test_a_state_that_cannot_be_read_is_kept_aside_and_an_empty_one_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with desk_on(tmp_path) as (_, spool):
        await spool.append(state={"health": b"{no json"})
    async with desk_on(tmp_path) as (desk, spool):
        assert desk.conditions() == ()
        assert spool.state("health.unreadable") == b"{no json"
    assert "health.state_unreadable" in capsys.readouterr().out


async def test_an_observation_that_breaks_a_rule_does_not_end_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk_on(tmp_path) as (desk, _):
        whole = desk.engine.observe

        def broken(observation: XidReport) -> list[Change]:
            if observation.code == 1:
                raise ZeroDivisionError
            return whole(observation)

        monkeypatch.setattr(desk.engine, "observe", broken)
        await desk.observe([xid(1, code=1), xid(2)])
        assert len(desk.conditions()) == 1


async def test_acknowledging_and_clearing_are_events_too(tmp_path: Path) -> None:
    async with desk_on(tmp_path) as (desk, spool):
        await desk.observe([xid(1)])
        condition_id = desk.conditions()[0].id
        await desk.acknowledge(condition_id, "ann")
        known = desk.condition(condition_id)
        assert known is not None
        assert known.acknowledged_by == "ann"
        await desk.clear(condition_id, "ann")
        assert desk.condition(condition_id) is None
        assert await records(spool) == [condition_id] * 3
        await desk.clear("no such", "ann")
        assert len(await records(spool)) == 3
