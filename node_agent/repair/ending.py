"""Ending one process: SIGTERM, grace, SIGKILL, all through a pidfd, so that no other process is ever hit."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass

from node_agent.repair import processes
from node_agent.repair.errors import StepFailed


@dataclass(frozen=True, slots=True)
class Named:
    """A process by its id and start: as long as the host is up, no other has both."""

    pid: int
    start_ticks: int


async def end_process(process: Named, *, terminate_seconds: float, kill_seconds: float) -> str:
    """End a process and say how it went; one that is gone already is fine. Raises StepFailed if it stays."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return f"pid {process.pid} is gone already"
    try:
        found = processes.look(process.pid)
        # Looked up after the handle was taken: if it is the one that was named, the handle is on it for good.
        if found is None or found.start_ticks != process.start_ticks:
            return f"pid {process.pid} is gone already"
        for number, seconds in ((signal.SIGTERM, terminate_seconds), (signal.SIGKILL, kill_seconds)):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return f"{found.name} (pid {found.pid}) has ended"
            except PermissionError as error:
                raise StepFailed(
                    f"{found.name} (pid {found.pid}) may not be signalled: run the daemon as root"
                ) from error
            if await _ended(handle, seconds):
                return f"{found.name} (pid {found.pid}) ended after {number.name}"
        state = (processes.look(process.pid) or found).state
        raise StepFailed(
            f"{found.name} (pid {found.pid}) is still there after SIGKILL, in state {state}: "
            "it hangs in the kernel, most likely in the driver; a reset or a reboot is next"
        )
    finally:
        os.close(handle)


async def is_gone(process: Named, seconds: float) -> bool:
    """Wait up to so long for a process to end; say whether it has."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        found = processes.look(process.pid)
        return found is None or found.start_ticks != process.start_ticks or await _ended(handle, seconds)
    finally:
        os.close(handle)


async def _ended(handle: int, seconds: float) -> bool:
    """Wait for the process behind a pidfd to end."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(handle, readable.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await readable.wait()
    finally:
        loop.remove_reader(handle)
    return readable.is_set()
