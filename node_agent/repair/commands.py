"""Running one command: no shell, a small environment, bounded time and output."""

import asyncio
import contextlib
import fcntl
import os
import signal
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
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output.handle,
                stderr=output.handle,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise StepFailed(f"{argv[0]} cannot be started: {error.strerror}") from error
        try:
            code = await _end_of(process, timeout_seconds)
        except asyncio.CancelledError:
            if kill_if_cancelled:
                _kill(process)
            raise
        return ToolResult(code, output.collected(), time.monotonic() - began)


async def _end_of(process: asyncio.subprocess.Process, timeout_seconds: float) -> int | None:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await process.wait()
    except TimeoutError:
        _kill(process)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DEATH_SECONDS):
            await process.wait()
    return None


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:  # once it is reaped, its number may be another's
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


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
