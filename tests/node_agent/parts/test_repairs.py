"""What becomes of orders on a host whose settings forbid repairs."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from node_agent.parts.repairs import RepairDesk, Repairman
from node_agent.repair.journal import Entry, RepairJournal
from node_agent.repair.model import RepairRecord, RepairState
from node_agent.settings import Repairs
from node_agent.spool.spool import Spool
from orquanta.v1 import repair_pb2
from tests.node_agent.parts.test_desk import CLOCK, desk_on
from tests.node_agent.repair.repair_host import PATIENCE_SECONDS, Host, ended, running, until_true
from tests.node_agent.repair.stage import BOOT, Stage
from tests.node_agent.repair.values import order


@pytest.fixture
def repaired(tmp_path: Path) -> Iterator[Host]:
    stage = Stage(tmp_path / "host")
    try:
        stage.build()
        made = Host(stage)
        yield made
        made.hardware.stop_probe()
    finally:
        stage.destroy()


async def in_spool(spool: Spool, count: int) -> dict[str, int]:
    """Return the state of each repair whose end has reached the spool, once there are so many."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            batch = await spool.read_from(1)
            records = () if batch is None else batch.records
            if len(records) >= count:
                return {one.repair_report.repair_id: one.repair_report.state for one in records}
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("refuse", [False, True])
async def test_a_repair_that_an_earlier_daemon_began_is_told_as_it_ended_though_repairs_are_off_now(
    repaired: Host, tmp_path: Path, *, refuse: bool
) -> None:
    begun = RepairRecord(order(), RepairState.VERIFYING, "", CLOCK.now(), BOOT)
    RepairJournal(repaired.stage.journal_dir).write(Entry(1, begun), 1)
    engine = repaired.engine()
    async with desk_on(tmp_path / "spool") as (health, spool):
        desk = RepairDesk(health, spool, CLOCK, boot_id=lambda: BOOT, on_progress=lambda _: None)
        engine._emit = desk.note
        man = Repairman(engine, desk, Repairs.OFF, CLOCK, BOOT)
        telling = asyncio.ensure_future(desk.run())
        try:
            if refuse:
                man.refuse(order(), "an order that cannot be read any more")
            else:
                man.order(order())
            man.order(order(repair_id="r-2"))
            async with running(engine):
                await ended(engine, "r-1")
                await until_true(lambda: desk.told("r-1") and desk.told("r-2"))
            told = await in_spool(spool, 2)
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
    assert told["r-2"] == repair_pb2.REPAIR_STATE_REFUSED
    assert told["r-1"] == repair_pb2.REPAIR_STATE_SUCCEEDED
    assert repaired.stage.resets() == 0
