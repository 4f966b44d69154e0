import asyncio
import os
import sys
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.probe.bounded.command import ENVIRONMENT, Commands
from tests.node_agent.probe.steps import until

TIMEOUT_SECONDS = 60.0


def script(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", code)


def commands() -> Commands:
    return Commands(SystemClock())


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def gone(pid: int) -> None:
    await until(lambda: not alive(pid))


async def test_output_error_and_exit_code_come_back() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    finished = await commands().run(script(code), key="a", timeout_seconds=TIMEOUT_SECONDS)
    assert (finished.exit_code, finished.output, finished.error) == (3, b"out\n", b"err\n")


async def test_a_command_gets_nothing_of_the_daemons_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORQUANTA_NODE_TOKEN", "secret")
    code = "import os; print(sorted(os.environ), os.getcwd())"
    finished = await commands().run(script(code), key="a", timeout_seconds=TIMEOUT_SECONDS)
    assert "ORQUANTA" not in finished.output.decode()
    assert all(name in finished.output.decode() for name in ENVIRONMENT)
    assert finished.output.decode().rstrip().endswith(" /")


async def test_a_command_beyond_its_deadline_is_killed_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['/bin/sleep', '600'])\n"
        f"open({str(pid_file)!r} + '.new', 'w').write(str(child.pid))\n"
        f"os.rename({str(pid_file)!r} + '.new', {str(pid_file)!r})\n"
        "time.sleep(600)"
    )
    for timeout_seconds in (1.0, 5.0, 30.0):  # a busy machine may take longer than the least to come to the child
        finished = await commands().run(script(code), key="a", timeout_seconds=timeout_seconds)
        assert finished.exit_code is None
        assert not finished.too_long
        if pid_file.exists():
            break
    await gone(int(pid_file.read_text()))


async def test_children_left_in_the_background_neither_hold_up_the_answer_nor_stay() -> None:
    code = "import subprocess; print(subprocess.Popen(['/bin/sleep', '600']).pid, flush=True)"
    finished = await commands().run(script(code), key="a", timeout_seconds=TIMEOUT_SECONDS)
    assert finished.exit_code == 0
    await gone(int(finished.output))


async def test_a_flood_of_output_is_cut_and_ends_the_command() -> None:
    finished = await commands().run(
        ("/usr/bin/env", "yes"), key="a", timeout_seconds=TIMEOUT_SECONDS, maximum_output=10_000
    )
    assert finished.too_long
    assert finished.exit_code is None
    assert len(finished.output) == 10_000


async def test_a_flood_of_errors_is_thrown_away_beyond_a_bound() -> None:
    code = "import sys; sys.stderr.write('x' * 3_000_000); print('done')"
    finished = await commands().run(script(code), key="a", timeout_seconds=TIMEOUT_SECONDS)
    assert (finished.exit_code, finished.output) == (0, b"done\n")
    assert len(finished.error) == 4096


async def test_an_endless_flood_of_errors_ends_at_the_deadline() -> None:
    for timeout_seconds in (1.0, 5.0, 30.0):  # a busy machine may take longer than the least to begin
        finished = await commands().run(
            script("import sys\nwhile True: sys.stderr.write('x' * 65536)"), key="a", timeout_seconds=timeout_seconds
        )
        assert finished.exit_code is None
        if finished.error:
            break
    assert len(finished.error) == 4096


async def test_a_command_that_closed_its_output_still_has_an_exit_code() -> None:
    code = "import os, time; os.write(1, b'x'); os.close(1); os.close(2); time.sleep(0.3); os._exit(4)"
    finished = await commands().run(script(code), key="a", timeout_seconds=TIMEOUT_SECONDS)
    assert (finished.exit_code, finished.output) == (4, b"x")


async def test_a_signal_is_a_negative_exit_code() -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    finished = await commands().run(script(code), key="a", timeout_seconds=TIMEOUT_SECONDS)
    assert finished.exit_code == -9


async def test_a_cancelled_command_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, time\n"
        f"open({str(pid_file)!r} + '.new', 'w').write(str(os.getpid()))\n"
        f"os.rename({str(pid_file)!r} + '.new', {str(pid_file)!r})\n"
        "time.sleep(600)"
    )
    task = asyncio.create_task(commands().run(script(code), key="a", timeout_seconds=600))
    await until(pid_file.exists)
    pid = int(pid_file.read_text())
    assert alive(pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid)


async def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await commands().run((str(tmp_path / "absent"),), key="a", timeout_seconds=TIMEOUT_SECONDS)
    no_format = tmp_path / "no-format"
    no_format.write_bytes(b"\0\1\2")
    no_format.chmod(0o700)
    with pytest.raises(OSError, match="Exec format"):
        await commands().run((str(no_format),), key="a", timeout_seconds=TIMEOUT_SECONDS)


async def test_no_descriptor_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the number of names is all that is asked
    for number in range(5):
        await commands().run(script("print(1)"), key=str(number), timeout_seconds=TIMEOUT_SECONDS)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208 - as above
