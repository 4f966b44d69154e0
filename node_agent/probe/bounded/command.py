"""Commands that are given a deadline and a bound on what they print, and are killed with all their children."""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from node_agent.clock import Clock
from node_agent.probe.bounded.threads import DeadlineThreads

MAXIMUM_OUTPUT_BYTES: Final = 64 * 1024
_MAXIMUM_ERROR_BYTES: Final = 4 * 1024
_CHUNK_BYTES: Final = 16 * 1024
_CHUNKS_AT_ONCE: Final = 64
"""More than a pipe holds (64 KiB, or 1 MiB if enlarged), few enough to look at the deadline in between."""
_SHORTEST_LOOK_SECONDS: Final = 0.005
_LONGEST_LOOK_SECONDS: Final = 0.25
_KILL_GRACE_SECONDS: Final = 5.0
"""How long a killed process may take to die; one that hangs in the kernel never does."""

ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}
"""All that a command gets: nothing of the daemon's own environment, which may hold a join token."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    exit_code: int | None
    """Negative for a signal; None if it was killed at its deadline or for printing too much."""
    output: bytes
    """At most the bound that was given."""
    error: bytes
    """The first 4 KiB of standard error."""
    too_long: bool = False
    """It printed more than the bound, and was killed for it."""


class _Run:
    """One run of a command. `run` blocks and belongs into a thread; `kill` is called from anywhere."""

    def __init__(self, arguments: tuple[str, ...], timeout_seconds: float, maximum_output: int) -> None:
        self._arguments = arguments
        self._timeout_seconds = timeout_seconds
        self._maximum_output = maximum_output
        self._lock = threading.Lock()  # between kill and reaping: a reaped process's number may be someone else's
        self._alive: subprocess.Popen[bytes] | None = None
        self._unwanted = False

    def run(self) -> Finished:
        """Run it to its end. Raises OSError if it cannot be started."""
        deadline = time.monotonic() + self._timeout_seconds
        process = subprocess.Popen(
            self._arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=dict(ENVIRONMENT),
            start_new_session=True,
        )
        with self._lock:
            self._alive = process
            unwanted = self._unwanted
        if unwanted:
            self.kill()
        output, error = bytearray(), bytearray()
        ended = self._read(process, output, error, deadline)
        self.kill()  # what it left behind in its group, if it has ended itself
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # hangs if it hangs in the kernel
        with self._lock:
            process.wait()
            self._alive = None
        too_long = len(output) > self._maximum_output
        return Finished(
            exit_code=process.returncode if ended and not too_long else None,
            output=bytes(output[: self._maximum_output]),
            error=bytes(error),
            too_long=too_long,
        )

    def kill(self) -> None:
        """Kill its process group, now or as soon as it has started."""
        with self._lock:
            self._unwanted = True
            if self._alive is None:
                return
            try:
                os.killpg(self._alive.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
            except ProcessLookupError:
                return

    def _read(self, process: subprocess.Popen[bytes], output: bytearray, error: bytearray, deadline: float) -> bool:
        """Collect what it prints until it ends. Return False at the deadline or when it printed too much.

        The end is the end of the process itself, not of its output: children in the background may hold that open.
        """
        assert process.stdout is not None
        assert process.stderr is not None
        pause = _SHORTEST_LOOK_SECONDS
        with process.stdout as out, process.stderr as err, selectors.DefaultSelector() as selector:
            # One byte beyond the bound of the output tells that there was too much.
            for file, sink in ((out, (output, self._maximum_output + 1)), (err, (error, _MAXIMUM_ERROR_BYTES))):
                os.set_blocking(file.fileno(), False)
                selector.register(file, selectors.EVENT_READ, sink)
            while True:
                # Looked up before reading, so that what it printed before it ended is read after.
                ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
                left = deadline - time.monotonic()
                wait = 0.0 if ended else max(0.0, min(pause, left))
                if not selector.get_map() and wait:
                    time.sleep(wait)  # it closed its output and goes on
                _drain(selector, wait)
                if len(output) > self._maximum_output:
                    return False
                if ended:
                    return True
                if left <= 0:
                    return False
                pause = min(2 * pause, _LONGEST_LOOK_SECONDS)


def _drain(selector: selectors.BaseSelector, wait: float) -> None:
    """Read what is there, after waiting for it; what goes beyond a sink's bound is thrown away."""
    for key, _ in selector.select(wait) if selector.get_map() else ():
        kept, bound = key.data
        for _ in range(_CHUNKS_AT_ONCE):
            try:
                chunk = os.read(key.fd, _CHUNK_BYTES)
            except BlockingIOError:
                break
            if not chunk:
                selector.unregister(key.fileobj)
                break
            kept += chunk[: bound - len(kept)]


class Commands:
    """Runs commands without a shell, each in a thread and a process group of its own."""

    def __init__(self, clock: Clock, *, threads: DeadlineThreads | None = None) -> None:
        self._threads = threads or DeadlineThreads(clock)

    async def run(
        self,
        arguments: tuple[str, ...],
        *,
        key: str,
        timeout_seconds: float,
        maximum_output: int = MAXIMUM_OUTPUT_BYTES,
    ) -> Finished:
        """Run a command, given by its absolute path, to its end or its deadline, whichever is first.

        It has no input, the fixed `ENVIRONMENT` and `/` as its directory. When cancelled, it is killed. One run per
        `key` at a time.

        Raises:
            OSError: it cannot be started.
            Stuck: it could not even be killed; it hangs in the kernel.
            NoThread: too many such commands.
        """
        command = _Run(arguments, timeout_seconds, maximum_output)
        try:
            return await self._threads.call(key, command.run, timeout_seconds + _KILL_GRACE_SECONDS)
        finally:
            command.kill()  # does nothing to one that has ended
