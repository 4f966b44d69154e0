"""Orders: once each, one at a time, recorded before they are begun."""

import asyncio
import errno
import fcntl
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from node_agent.files import write_atomically
from node_agent.health.model import Rung
from node_agent.probe.errors import GpusHeld
from node_agent.repair.journal import Entry, RepairJournal, Undo, UndoKind
from node_agent.repair.model import RepairRecord, RepairState
from node_agent.repair.toolbox import MARKER
from tests.fake_clock import FakeClock
from tests.node_agent.repair.repair_host import Host, ended, running, until_true
from tests.node_agent.repair.stage import BOOT, DCGM, HOLDING
from tests.node_agent.repair.values import order


async def test_an_order_that_is_known_is_never_carried_out_again(host: Host) -> None:
    engine = host.engine()
    async with running(engine):
        engine.order(order())
        await ended(engine, "r-1")
        engine.order(order())
        engine.order(None)
        engine.order(order())
        engine.order(order(Rung.VERIFY, "r-2"))
        await ended(engine, "r-2")
    again = host.engine()
    async with running(again):
        again.order(order())
        again.order(order(Rung.VERIFY, "r-4"))
        await ended(again, "r-4")
    assert host.stage.resets() == 1


async def test_an_order_that_waits_can_be_withdrawn_and_one_that_has_begun_goes_on(host: Host) -> None:
    (host.stage.state / "slow-reset").touch()
    engine = host.engine()
    async with running(engine):
        engine.order(order())
        await until_true(lambda: any("--gpu-reset" in line for line in host.stage.log()))
        engine.order(order(Rung.REBOOT_HOST, "r-2"))
        assert host.seen[-1].state is RepairState.PENDING
        engine.order(None)
        assert (await ended(engine, "r-1")).state is RepairState.SUCCEEDED
        withdrawn = await ended(engine, "r-2")
    assert withdrawn.state is RepairState.REFUSED
    assert "withdrawn" in withdrawn.message
    assert "systemctl reboot" not in host.stage.log()


async def test_an_order_is_not_begun_after_its_time(host: Host) -> None:
    host.clock = clock = FakeClock()
    record = await host.carry_out(order(not_after=clock.now() - timedelta(seconds=1)))
    assert record.state is RepairState.REFUSED
    assert host.stage.log() == []


@pytest.mark.parametrize("repair_id", ["../../etc/passwd", "", "a/b", ".hidden", "x" * 200, "r 1", "r-1\n", "r\0"])
async def test_an_id_that_cannot_name_a_file_is_refused_and_writes_none(host: Host, repair_id: str) -> None:
    engine = host.engine()
    async with running(engine):
        engine.order(order(repair_id=repair_id))
        await until_true(lambda: bool(host.seen) and host.seen[-1].state.ended)
        engine.order(order(repair_id=repair_id))
        engine.order(order(Rung.VERIFY, "r-2"))
        await ended(engine, "r-2")
    assert host.seen[0].state in (RepairState.REFUSED, RepairState.PENDING)
    assert host.stage.log() == []
    assert [path.name for path in host.stage.journal_dir.glob("*.json")] == ["r-2.json"]


async def test_a_host_that_another_process_repairs_is_left_to_it(host: Host) -> None:
    host.engine()
    handle = os.open(host.stage.journal_dir / "repair.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        record = await host.carry_out(order())
        assert record.state is RepairState.REFUSED
        assert "another process" in record.message
        assert host.stage.log() == []
    finally:
        os.close(handle)


def full_disk(*_: Any, **__: Any) -> None:  # Any: stands for a function that writes
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_nothing_is_begun_on_a_full_disk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = host.engine()
    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    async with running(engine):
        engine.order(order())
        await until_true(lambda: bool(host.seen) and host.seen[-1].state.ended)
        engine.order(order())
        await asyncio.sleep(0)
    assert host.seen[-1].state is RepairState.REFUSED
    assert "free some space" in host.seen[-1].message
    assert host.stage.log() == []
    assert list(host.stage.journal_dir.glob("*.json")) == []


async def test_a_disk_that_fills_up_in_the_midst_still_starts_what_was_stopped(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = host.engine()
    writes = 0

    def fill_up(path: Path, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes > 6:
            full_disk()
        write_atomically(path, data)

    monkeypatch.setattr("node_agent.repair.journal.write_atomically", fill_up)
    record = await host.carry_out(order(), engine)
    assert record.state is RepairState.FAILED
    assert "journal" in record.message
    assert host.stage.running_services() == set(HOLDING)
    assert host.stage.resets() == 0


async def test_the_space_set_aside_carries_a_repair_over_a_disk_that_fills_up(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = host.engine()
    reserve = host.stage.journal_dir / "reserve"

    def needs_the_reserve(path: Path, data: bytes) -> None:
        if path.suffix == ".json" and reserve.exists() and host.stage.log():
            full_disk()
        write_atomically(path, data)

    monkeypatch.setattr("node_agent.repair.journal.write_atomically", needs_the_reserve)
    record = await host.carry_out(order(), engine)
    assert record.state is RepairState.SUCCEEDED, record
    assert not reserve.exists()


@pytest.mark.parametrize("state", [RepairState.RUNNING, RepairState.VERIFYING])
async def test_what_a_killed_daemon_stopped_is_started_again_on_a_disk_that_refuses(
    host: Host, monkeypatch: pytest.MonkeyPatch, state: RepairState
) -> None:
    left = Entry(
        1,
        RepairRecord(order(), state, "", host.clock.now(), BOOT),
        undo=(Undo(UndoKind.START_SERVICE, DCGM),),
    )
    RepairJournal(host.stage.journal_dir).write(left, 1)
    stop = (host.stage.tools / "systemctl", "stop", "--", DCGM)
    assert await (await asyncio.create_subprocess_exec(*stop)).wait() == 0
    assert DCGM not in host.stage.running_services()
    with monkeypatch.context() as broken:
        broken.setattr("node_agent.repair.journal.write_atomically", full_disk)
        engine = host.engine()
        async with running(engine):
            record = await ended(engine, "r-1")
    assert record.state is RepairState.FAILED
    assert host.stage.running_services() == set(HOLDING)
    assert host.jobs.holds_now is None
    again = host.engine()
    async with running(again):
        assert (await ended(again, "r-1")).state.ended, "with room on the disk the next daemon ends it for good"
    assert RepairJournal(host.stage.journal_dir).unfinished() == ()
    assert host.stage.resets() == 0


async def test_a_probe_that_hangs_in_the_driver_does_not_keep_the_next_daemon_from_ending_a_repair(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    RepairJournal(host.stage.journal_dir).write(
        Entry(
            1,
            RepairRecord(order(), RepairState.RUNNING, "", host.clock.now(), BOOT),
            begun="reset",
            undo=(Undo(UndoKind.START_SERVICE, DCGM),),
        ),
        1,
    )
    stop = (host.stage.tools / "systemctl", "stop", "--", DCGM)
    assert await (await asyncio.create_subprocess_exec(*stop)).wait() == 0

    async def held() -> None:
        raise GpusHeld("the driver does not let go of the killed probe")

    monkeypatch.setattr(host.hardware, "release", held)
    left = await asyncio.create_subprocess_exec("sleep", "1", env={"PATH": "/usr/bin:/bin", MARKER: "r-1"})
    engine = host.engine()
    async with running(engine):
        record = await ended(engine, "r-1")
    assert await left.wait() == 0
    assert record.state is RepairState.FAILED
    assert host.stage.running_services() == set(HOLDING)


async def test_a_daemon_that_is_stopped_takes_back_what_it_did_and_ends_the_repair(host: Host) -> None:
    (host.stage.state / "slow-reset").touch()
    engine = host.engine()
    engine.order(order())
    async with running(engine):
        await until_true(lambda: any("stop" in line for line in host.stage.log()))
    record = engine.records()[0]
    assert record.state is RepairState.FAILED or not record.state.ended
    assert host.stage.running_services() == set(HOLDING)


async def test_a_daemon_that_is_stopped_in_the_midst_of_a_verification_leaves_it_to_the_next(host: Host) -> None:
    limits = replace(host.stage.limits(), canary_seconds=2.0)
    engine = host.engine(limits=limits)
    engine.order(order(Rung.VERIFY))
    async with running(engine):
        await until_true(lambda: any(check.name == "matrix" for record in host.seen for check in record.checks))
    assert not engine.records()[0].state.ended
    after = host.engine()
    async with running(after):
        assert (await ended(after, "r-1")).state is RepairState.SUCCEEDED


async def test_what_breaks_in_another_part_of_the_daemon_fails_the_step_and_is_taken_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise KeyError("a mistake elsewhere")

    monkeypatch.setattr(host.hardware, "release", broken)
    record = await host.carry_out(order())
    assert record.state is RepairState.FAILED
    assert "a mistake elsewhere" in record.message
    assert host.stage.running_services() == set(HOLDING)


async def test_every_change_is_told_in_order_and_the_last_is_the_end(host: Host) -> None:
    record = await host.carry_out(order())
    states = [seen.state for seen in host.seen]
    assert states[0] in (RepairState.PENDING, RepairState.RUNNING)
    assert host.seen[-1] == record
    assert [state.ended for state in states].count(True) == 1
    assert RepairState.RUNNING in states
    assert RepairState.VERIFYING in states
    counts = [len(seen.steps) for seen in host.seen]
    assert counts == sorted(counts)
