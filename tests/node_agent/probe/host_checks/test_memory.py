from pathlib import Path

import pytest

from node_agent.probe.host_checks import HostCheckSettings, MemoryLimits
from node_agent.probe.host_checks.memory import Memory, judge, stalled_percent
from node_agent.probe.observations import Standing
from tests.node_agent.probe.steps import StepClock


def memory(root: Path, meminfo: str, pressure: str | None) -> Memory:
    proc = root / "proc"
    (proc / "pressure").mkdir(parents=True)
    (proc / "meminfo").write_text(meminfo)
    if pressure is not None:
        (proc / "pressure/memory").write_text(pressure)
    return Memory(HostCheckSettings(state_dir=root, proc_root=proc), StepClock())


MEMINFO = "MemTotal:       100000000 kB\nMemFree:  1 kB\nMemAvailable:   {} kB\n"
PRESSURE = "some avg10=50.00 avg60=60.00 avg300=1.00 total=1\nfull avg10=0.00 avg60={} avg300=0.00 total=1\n"


@pytest.mark.parametrize(
    ("available", "stalled", "expected"),
    [
        (50_000_000, "0.00", Standing.GOOD),
        (4_000_000, "0.00", Standing.WARNING),
        (1_000_000, "0.00", Standing.BAD),
        (50_000_000, "15.20", Standing.WARNING),
        (50_000_000, "61.00", Standing.BAD),
        (50_000_000, "garbage", Standing.GOOD),
        (50_000_000, "nan", Standing.GOOD),
    ],
)
async def test_memory_is_judged_by_what_is_left_and_by_what_waits(
    tmp_path: Path, available: int, stalled: str, expected: Standing
) -> None:
    (report,) = await memory(tmp_path, MEMINFO.format(available), PRESSURE.format(stalled)).look()
    assert report.standing is expected
    assert "GiB" in report.text


async def test_a_kernel_without_pressure_figures_is_judged_by_what_is_left(tmp_path: Path) -> None:
    (report,) = await memory(tmp_path, MEMINFO.format(1), None).look()
    assert report.standing is Standing.BAD


async def test_nothing_is_said_where_the_kernel_says_nothing(tmp_path: Path) -> None:
    assert await memory(tmp_path, "garbage", None).look() == []


def test_both_limits_count() -> None:
    limits = MemoryLimits()
    assert judge(100, 0, limits) is Standing.GOOD
    assert judge(100, 100, limits) is Standing.BAD
    assert judge(0, 0, limits) is Standing.BAD


def test_this_kernels_own_pressure_file_is_read_if_it_has_one() -> None:
    stalled = stalled_percent(Path("/proc/pressure/memory"))
    assert stalled is None or 0 <= stalled <= 100
