"""Programs that `orquanta up` runs: started in their own process group, logged to a file, stopped in time."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from orquanta.cli.exits import CommandError, ExitCode

# The server and the daemon bound their own shutdown well below this.
_STOP_SECONDS = 30.0
_TAIL_LINES = 15
# Looked at when a program starts: a log beyond this becomes the old one, and the one before goes.
_MAX_LOG_BYTES = 16 * 1024 * 1024


def _open_log(log: Path) -> BinaryIO:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    return log.open("ab")


class Child:
    """A running program. Its output goes to a file, so that the terminal stays readable."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path, log_begin: int) -> None:
        self.name = name
        self._process = process
        self._log = log
        self._log_begin = log_begin

    @classmethod
    async def start(cls, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> "Child":
        """Start a program. Its own process group keeps the terminal's Ctrl-C from reaching it first."""
        with _open_log(log) as output:
            log_begin = output.tell()
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                process_group=0,
            )
        return cls(name, process, log, log_begin)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it exited; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it exits."""
        return await self._process.wait()

    def failure(self) -> CommandError:
        """What to raise when it exited by itself: the end of its log says why."""
        with self._log.open(errors="replace") as lines:
            lines.seek(self._log_begin)  # what earlier runs wrote would only hide the reason
            kept = deque(lines, maxlen=_TAIL_LINES)
        said = [line for line in kept if line.startswith(f"{self.name}: error: ")]  # after all of its options
        tail = "".join(said[-1:] or kept)
        return CommandError(
            f"{self.name} ended with exit code {self.returncode}. The end of {self._log}:\n{tail}".rstrip(),
            reason="PROGRAM_ENDED",
            code=ExitCode.FAILED,
        )

    def kill(self) -> None:
        """End its process group at once."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, a grace, then SIGKILL of its group."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        except asyncio.CancelledError:  # asked to stop a second time: do not wait
            self.kill()
            raise
