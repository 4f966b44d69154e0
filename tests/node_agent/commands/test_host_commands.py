"""The commands of a host, as an operator or a script runs them."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node_agent.commands import page
from orquanta.v1 import health_pb2


def command(*arguments: str, kernel_log: Path | None = None) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ORQUANTA_NODE_KERNEL_LOG": str(kernel_log or ""), "ORQUANTA_NODE_CONFIG": os.devnull}
    return subprocess.run(
        [sys.executable, "-m", "node_agent", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=90,
        check=False,
    )


async def scan(tmp_path: Path, log: str, *more: str) -> "subprocess.CompletedProcess[str]":
    lines = tmp_path / "kernel-log"
    lines.write_text(log)
    arguments = ("scan", "--state-dir", str(tmp_path), "--virtual-gpus", "2xH100", *more)
    return await asyncio.to_thread(lambda: command(*arguments, kernel_log=lines))


async def test_a_healthy_host_without_daemon_or_control_plane_scans_as_such(tmp_path: Path) -> None:
    done = await scan(tmp_path, "6,1,1000,-;systemd[1]: started\n", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert [gpu["error"] for gpu in found["gpus"]] == [None, None]
    assert not [one for one in found["conditions"] if one["severity"] == "fatal"]
    assert done.returncode == found["exit_code"] <= 1


async def test_a_lost_gpu_in_the_kernel_log_makes_the_scan_fail_and_names_the_repair(tmp_path: Path) -> None:
    line = "4,2,2000,-;NVRM: Xid (PCI:0000:1b:00): 79, pid=77, name=python, GPU has fallen off the bus.\n"
    done = await scan(tmp_path, line)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "FATAL" in done.stdout
    assert "repair:" in done.stdout
    assert "NOT healthy" in done.stdout


async def test_the_catalogue_prints_as_csv_with_the_vendors_words() -> None:
    done = await asyncio.to_thread(lambda: command("catalogue", "--format", "csv"))
    lines = done.stdout.splitlines()
    assert lines[0] == "xid,name,severity,immediate_action,source"
    assert any(line.startswith("79,") and "RESTART_BM" in line for line in lines)


@pytest.mark.parametrize("name", ["conditions", "events", "repairs"])
async def test_without_a_daemon_a_question_says_how_to_start_it(tmp_path: Path, name: str) -> None:
    done = await asyncio.to_thread(lambda: command(name, "--state-dir", str(tmp_path)))
    assert done.returncode == 69
    assert "systemctl start orquanta-node" in done.stderr
    assert done.stdout == ""


async def test_the_status_of_a_host_that_has_not_joined_says_so(tmp_path: Path) -> None:
    done = await asyncio.to_thread(lambda: command("status", "--state-dir", str(tmp_path)))
    assert done.returncode == 78
    assert "orquanta-node join" in done.stdout


async def test_an_age_that_is_none_is_refused_with_an_example(tmp_path: Path) -> None:
    done = await asyncio.to_thread(lambda: command("events", "--state-dir", str(tmp_path), "--since", "yesterday"))
    assert done.returncode == 78
    assert "30s, 5m, 2h or 7d" in done.stderr


def test_a_condition_cannot_steer_the_terminal() -> None:
    hostile = health_pb2.Condition(id="x\x1b[2J", summary="\x07bell\nline", acknowledged_by="\x9b")
    text = "\n".join(page.describe_conditions([hostile]))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "x?[2J" in text


def test_ages_are_read_as_they_are_written() -> None:
    now = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert page.age("2h", now) == datetime(2026, 1, 2, 10, tzinfo=UTC)
    for bad in ("", "h", "-1h", "1y", "99999999999s", "1.5h"):
        with pytest.raises(ValueError, match="write one such as"):
            page.age(bad, now)
