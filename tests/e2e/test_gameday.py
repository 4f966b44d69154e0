"""Every game day, on a fleet of its own: what had to hold held, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orquanta.gameday.play import play
from orquanta.gameday.program import all_pids, names
from orquanta.gameday.scenarios import SCENARIOS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

_COMMAND = [sys.executable, "-m", "orquanta.cli", "gameday"]
_STOP_SECONDS = 120
_BY_COMMAND = "gpu_lost"
"""The scenario that is played by the command, with the same findings to hold, and so need not be played twice."""


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != _BY_COMMAND])
async def test_game_day(name: str) -> None:
    said: list[str] = []
    day = await play(SCENARIOS[name], said.append)
    if day.skipped:
        pytest.skip(day.skipped)
    assert day.findings
    assert day.held, "\n".join(said)


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=300)


def test_list_tells_what_each_scenario_proves() -> None:
    listed = json.loads(_run("list", "--json").stdout)["scenarios"]
    assert [one["name"] for one in listed] == list(SCENARIOS)
    assert all(one["title"] and one["proves"] for one in listed)


@pytest.mark.long
def test_run_reports_what_held_with_timings_and_exits_with_0() -> None:
    done = _run("run", _BY_COMMAND, "--json")
    assert done.returncode == 0, done.stderr
    (day,) = json.loads(done.stdout)["game_days"]
    assert day["findings"]
    assert all(finding["held"] for finding in day["findings"])
    assert day["most_out"] == 1
    (course,) = day["courses"]
    assert course["repairs"] == ["reboot_host succeeded"]
    assert {name for name, value in course["timings"].items() if value is None} == set()


def test_a_scenario_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = _run("run", "no_such")
    assert done.returncode == 2
    assert "nvlink_down" in done.stderr


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="gd-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def test_control_c_stops_everything_and_leaves_nothing_behind(short_path: Path) -> None:
    command = [*_COMMAND, "run", "quiet"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(short_path)}
    ) as game:
        assert game.stdout is not None
        for line in game.stdout:
            if "joined" in line:
                break
        running = [pid for pid in all_pids() if pid != game.pid and names(pid, str(short_path))]
        assert running
        game.send_signal(signal.SIGINT)
        game.stdout.read()
        assert game.wait(_STOP_SECONDS) == 130
    left = [pid for pid in all_pids() if names(pid, str(short_path))]
    deadline = time.monotonic() + _STOP_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(0.05)  # a process that was killed may still be on its way out
        left = [pid for pid in left if names(pid, str(short_path))]
    assert left == []
    assert [path.name for path in short_path.iterdir() if path.name.startswith("orquanta-")] == []
