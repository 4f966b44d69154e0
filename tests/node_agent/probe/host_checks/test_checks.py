import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.probe.host_checks import HostChecks, HostCheckSettings, Periods
from node_agent.probe.host_checks.changes import KnownReports, Publisher
from node_agent.probe.observations import HostFinding, HostReport, Standing
from tests.node_agent.probe.host_checks.ports_tree import PortsTree
from tests.node_agent.probe.steps import START, Taken, until

FAST = Periods(0.02, 0.02, 0.02, 0.02, 0.02, 0.02)


def settings(directory: Path) -> HostCheckSettings:
    (directory / "state").mkdir()
    return HostCheckSettings(
        state_dir=directory / "state",
        periods=FAST,
        sys_root=directory / "sys",
        systemd_marker=directory / "absent",
        deadline_seconds=30,
    )


async def test_everything_is_told_at_first_and_then_what_changes(tmp_path: Path) -> None:
    tree, taken = PortsTree(tmp_path / "sys"), Taken()
    tree.put("mlx5_0/1")
    task = asyncio.create_task(HostChecks(settings(tmp_path), SystemClock()).run(taken))
    await taken.until(HostFinding.PORT, "mlx5_0/1", Standing.GOOD)
    tree.down("mlx5_0/1")
    await taken.until(HostFinding.PORT, "mlx5_0/1", Standing.BAD)
    tree.put("mlx5_0/1")
    await taken.until(HostFinding.PORT, "mlx5_0/1", Standing.GOOD)
    await until(lambda: {HostFinding.CLOCK_DRIFT, HostFinding.MEMORY} <= {report.finding for report in taken.all})
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert any(report.finding is HostFinding.DISK_SPACE for report in taken.all)
    told = [report.standing for report in taken.all if report.finding is HostFinding.PORT]
    assert told == [Standing.GOOD, Standing.BAD, Standing.GOOD]


async def test_the_drift_that_the_link_measures_is_handed_on(tmp_path: Path) -> None:
    taken = Taken()
    checks = HostChecks(settings(tmp_path), SystemClock())
    checks.note_link_drift(45.0)
    task = asyncio.create_task(checks.run(taken))
    await taken.until(HostFinding.CLOCK_DRIFT, "link", Standing.BAD)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_look_at_everything_needs_no_loop(tmp_path: Path) -> None:
    reports = await HostChecks(settings(tmp_path), SystemClock()).look_once()
    assert {HostFinding.DISK_SPACE, HostFinding.MEMORY, HostFinding.CLOCK_DRIFT} <= {
        report.finding for report in reports
    }


def report(standing: Standing, text: str, seconds: float = 0) -> HostReport:
    at = START.replace(minute=int(seconds // 60), second=int(seconds % 60))
    return HostReport(HostFinding.MEMORY, "memory", standing, text, at)


def test_figures_of_what_is_well_are_not_told_again() -> None:
    known = KnownReports()
    known.told([report(Standing.GOOD, "70 %")])
    assert known.changed([report(Standing.GOOD, "71 %", 600)]) == []
    assert known.changed([report(Standing.BAD, "1 %")]) != []


def test_figures_of_what_is_wrong_are_told_once_a_minute() -> None:
    known = KnownReports()
    known.told([report(Standing.BAD, "1 %")])
    assert known.changed([report(Standing.BAD, "1 %", 120)]) == []
    assert known.changed([report(Standing.BAD, "2 %", 30)]) == []
    assert known.changed([report(Standing.BAD, "2 %", 60)]) != []


def test_a_report_that_is_about_another_gpu_is_told() -> None:
    known, before = KnownReports(), report(Standing.GOOD, "")
    known.told([before])
    assert known.changed([replace(before, gpu_uuid="GPU-1")]) != []


async def test_what_could_not_be_handed_on_is_handed_on_with_the_next_look() -> None:
    taken: list[Sequence[HostReport]] = []

    async def take(reports: Sequence[HostReport]) -> None:
        taken.append(reports)
        if len(taken) == 1:
            raise ConnectionError("not now")

    publisher = Publisher(take)
    for _ in range(3):
        await publisher.publish([report(Standing.BAD, "1 %")])
    assert len(taken) == 2
