"""Running one command: no shell, a small environment, bounded time and output."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from node_agent.repair.errors import StepFailed
from node_agent.repair.text import printable

MAXIMUM_OUTPUT_BYTES: Final = 64 * 1024
"""Output of a command that is kept; it cannot write more."""
_DEATH_SECONDS: Final = 5.0
"""A killed command that is not gone by then hangs in the kernel; it is not waited for."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How a command ended. `exit_code` is None if it was killed for its time, negative for a signal."""

    exit_code: int | None
    output: bytes
    seconds: float

    @property
    def text(self) -> str:
        """The output for a person."""
        return printable(self.output)


async def run_bounded(
    argv: Sequence[str], environment: Mapping[str, str], timeout_seconds: float, *, kill_if_cancelled: bool = False
) -> ToolResult:
    """Run a command to its end or its time limit; raises StepFailed if it cannot be started.

    A caller that is cancelled leaves the command running, unless it says otherwise.
    """
    began = time.monotonic()
    with _Output() as output:
        try:
            process = _start(argv, environment, output.handle)
        except OSError as error:
            raise StepFailed(f"{argv[0]} cannot be started: {error.strerror}") from error
        try:
            code = await _end_of(process, timeout_seconds)
        except asyncio.CancelledError:
            if kill_if_cancelled:
                _kill(process)
            raise
        finally:
            _reap(process)
        return ToolResult(code, output.collected(), time.monotonic() - began)


def _start(argv: Sequence[str], environment: Mapping[str, str], output: int) -> "subprocess.Popen[bytes]":
    """Start it without asyncio's transports, which kill what still runs when they are forgotten."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        cwd="/",
        start_new_session=True,
    )


async def _end_of(process: "subprocess.Popen[bytes]", timeout_seconds: float) -> int | None:
    if await _ended(process, timeout_seconds):
        return process.wait()
    _kill(process)
    await _ended(process, _DEATH_SECONDS)
    return None


async def _ended(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait for a process that was not reaped to end."""
    handle = os.pidfd_open(process.pid)
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(handle, readable.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await readable.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return readable.is_set()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the number is its own


def _reap(process: "subprocess.Popen[bytes]") -> None:
    """See that no zombie stays, however long a process goes on that nobody waits for any more."""
    if process.poll() is None:
        threading.Thread(target=process.wait, name=f"reap {process.pid}", daemon=True).start()


class _Output:
    """What a command writes: memory of a fixed size in place of a pipe, whose writer is killed when its reader dies.

    So a command that outlives its daemon ends its work in peace.
    """

    def __enter__(self) -> Self:
        self.handle = os.memfd_create("output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.handle, MAXIMUM_OUTPUT_BYTES)
        fcntl.fcntl(self.handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)

    def collected(self) -> bytes:
        """Return what was written so far: all writers share one place in it."""
        return os.pread(self.handle, os.lseek(self.handle, 0, os.SEEK_CUR), 0)
