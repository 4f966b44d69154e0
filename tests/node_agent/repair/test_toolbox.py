"""The table of commands: nothing but checked values reaches an argv, nothing runs without bounds."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.repair import processes
from node_agent.repair.arguments import MODULES, SERVICES
from node_agent.repair.commands import MAXIMUM_OUTPUT_BYTES, run_bounded
from node_agent.repair.errors import BadArgument, StepFailed
from node_agent.repair.toolbox import Action, Toolbox
from tests.node_agent.repair.repair_host import until_true

_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
_ACTIONS = [action for action in Action if action is not Action.REBOOT]


@given(
    st.sampled_from(_ACTIONS),
    st.text(max_size=60) | st.sampled_from(["-a", "--", "$(id)", ";id", "a b", "\0", "nvidia\n"]),
)
def test_free_text_never_reaches_a_command_line(action: Action, text: str) -> None:
    toolbox = Toolbox(Path("/nowhere"))
    for value in (text, [text], ["00000000:1B:00.0", text]):
        try:
            command = toolbox.command(action, value)
        except (BadArgument, AttributeError, TypeError):
            continue
        last = command.argv[-1]
        known = last in SERVICES or last in MODULES
        path = action is Action.BUG_REPORT and last.startswith("/") and ".." not in last
        assert known or path, command


@pytest.mark.parametrize(
    "bus_id", ["0", "all", "00000000:1B:00.0 --x", "GPU-1", "0000:1b:00.0,all", "0000:1b:00", "0000:1b:00.9", ""]
)
def test_only_pci_bus_ids_reach_nvidia_smi(bus_id: str) -> None:
    with pytest.raises(BadArgument):
        Toolbox(Path("/nowhere")).command(Action.RESET_GPUS, [bus_id])


def test_an_action_takes_the_values_of_its_kind_and_no_others() -> None:
    toolbox = Toolbox(Path("/nowhere"))
    with pytest.raises(BadArgument):
        toolbox.command(Action.REBOOT, "now")
    with pytest.raises(BadArgument):
        toolbox.command(Action.STOP_SERVICE)
    with pytest.raises(BadArgument):
        toolbox.command(Action.RESET_GPUS, [])
    with pytest.raises(BadArgument):
        toolbox.command(Action.BUG_REPORT, "/var/../etc/passwd")


def script(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


async def test_a_command_gets_a_small_environment_and_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    script(tmp_path, "systemctl", "env; cat; pwd")
    toolbox = Toolbox(tmp_path)
    result = await toolbox.run(toolbox.command(Action.REBOOT), repair_id="r-1")
    assert result.exit_code == 0
    lines = set(result.output.decode().splitlines())
    assert {"ORQUANTA_REPAIR=r-1", "LANG=C", "HOME=/", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "/"} <= lines
    assert not any("SECRET" in line for line in lines)


async def test_with_a_directory_of_stand_ins_no_tool_of_the_host_is_found(tmp_path: Path) -> None:
    toolbox = Toolbox(tmp_path)
    assert not any(toolbox.has(action) for action in Action)
    with pytest.raises(StepFailed, match="was not found"):
        await toolbox.run(toolbox.command(Action.REBOOT), repair_id="r-1")


async def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    text = f"sleep 100000 & echo $! > {pid_file}.part; mv {pid_file}.part {pid_file}; wait"
    for seconds in (0.5, 5.0, 30.0):  # a busy host may take longer than the least to come to the child
        result = await run_bounded(["/bin/sh", "-c", text], _ENVIRONMENT, seconds)
        assert result.exit_code is None
        if pid_file.exists():
            break
    await until_true(lambda: processes.look(int(pid_file.read_text())) is None)


async def test_output_is_bounded() -> None:
    result = await run_bounded(["/bin/sh", "-c", "yes | head -c 1000000"], _ENVIRONMENT, 60.0)
    assert 0 < len(result.output) <= MAXIMUM_OUTPUT_BYTES
    assert len(result.text) <= 2000


async def test_a_child_left_behind_does_not_hold_up_the_end_of_its_command(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    began = time.monotonic()
    result = await run_bounded(["/bin/sh", "-c", f"echo said; sleep 100000 & echo $! > {pid_file}"], _ENVIRONMENT, 60.0)
    assert result.exit_code == 0
    assert result.output == b"said\n"
    assert time.monotonic() - began < 60.0
    os.kill(int(pid_file.read_text()), 9)


async def test_a_command_whose_daemon_is_gone_ends_its_work(tmp_path: Path) -> None:
    done = tmp_path / "done"
    text = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo words; echo more words; touch {done}"
    task = asyncio.create_task(run_bounded(["/bin/sh", "-c", text], _ENVIRONMENT, 60.0))
    await asyncio.sleep(0)
    await until_true(lambda: any(f"{tmp_path}/go ]" in line for line in command_lines()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (tmp_path / "go").touch()
    await until_true(done.exists)


def command_lines() -> list[str]:
    found = []
    for pid in processes.all_pids():
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
        except OSError:
            continue
    return found


async def test_a_program_that_cannot_be_started_says_so() -> None:
    with pytest.raises(StepFailed, match="cannot be started"):
        await run_bounded(["/nowhere/tool"], _ENVIRONMENT, 1.0)
