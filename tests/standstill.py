"""Stopping a process for a while: SIGSTOP takes effect after `kill` has returned, in each thread by itself."""

import os
import signal
import time
from pathlib import Path

_SECONDS_MAX = 30
_STOPPED = "T"


def stand_still(pid: int) -> None:
    """Stop a process, and return once none of its threads can do anything before SIGCONT or SIGKILL."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _SECONDS_MAX
    while set(_states(pid)) != {_STOPPED}:
        assert time.monotonic() < deadline, f"process {pid} has not stopped: {_states(pid)}"
        time.sleep(0.001)


def _states(pid: int) -> list[str]:
    """Return the state of each thread as a letter; none for a process that is gone."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # this thread has just ended
        found.append(status.partition("\nState:\t")[2][:1])
    return found
