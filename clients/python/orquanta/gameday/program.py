"""Programs of a game day's fleet: started, killed and looked up, with their output in a file."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02


class FleetError(Exception):
    """A program of the fleet did not do what it must; its log is in the message."""


class Program:
    """A program with its output in a file, which can be killed and started again."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._arguments = [sys.executable, *arguments]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 if it does not run."""
        return self._process.pid if self.running and self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self, wrapper: Sequence[str] = ()) -> None:
        """Start the program in a session of its own, so that Ctrl-C here reaches it only through us.

        A `wrapper` is a command that prepares something and then turns into the one that follows it.
        """
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*wrapper, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.running and self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def wait(self, seconds: float) -> int:
        """Block until it ends by itself; return its exit status, negative for a signal. Kills it after that time."""
        assert self._process is not None, "it was never started"
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise FleetError(f"{self.name} did not end within {seconds:g} s:\n{self.tail()}") from None

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL if that does not help."""
        self.signal(signal.SIGTERM)
        try:
            await wait_until(lambda: not self.running, f"{self.name} stops", seconds=_STOP_SECONDS)
        except FleetError:
            self.kill()

    def tail(self, lines: int = 25) -> str:
        """Return the end of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


async def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = START_SECONDS) -> None:
    """Wait until the condition holds. Raises FleetError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise FleetError(f"waited {seconds:g} s in vain: {what}")
        await asyncio.sleep(_POLL_SECONDS)


def read_file(path: Path) -> bytes:
    """Return what a file of /proc holds; nothing if its process is gone or somebody else's."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def kill(pid: int) -> None:
    """`kill -9`; a process that is gone already is fine."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def all_pids() -> list[int]:
    """Return every process of the machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def names(pid: int, mark: str) -> bool:
    """Whether the command line or the environment of a process has this text in it."""
    process, text = Path("/proc", str(pid)), mark.encode()
    return text in read_file(process / "cmdline") or text in read_file(process / "environ")


def self_and_ancestors() -> set[int]:
    """Return this process and those that started it, which may name the fleet's directory as well."""
    found, pid = set[int](), os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        state_and_parent = read_file(Path("/proc", str(pid), "stat")).rpartition(b")")[2].split()[:2]
        pid = int(state_and_parent[-1]) if len(state_and_parent) > 1 else 0
    return found
