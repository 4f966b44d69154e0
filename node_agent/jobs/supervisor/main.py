"""The start of one supervisor: detach, write down who it is, stand over the job until it has ended."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH105, PTH110, PTH118, PTH123
from __future__ import annotations

import json
import os

from node_agent.jobs import proc
from node_agent.jobs.supervisor.life import Supervisor
from node_agent.jobs.supervisor.plan import STATUS_FILE, SUPERVISOR_FILE, Plan

_SUPERVISOR_OOM_SCORE = "-900"


def _detach() -> int:
    """Continue in a child that nobody waits for; return the pipe to close once the child can be found on disk."""
    ready_read, ready_write = os.pipe()
    if os.fork() != 0:
        os.close(ready_write)
        os.read(ready_read, 1)
        os._exit(0)
    os.close(ready_read)
    return ready_write


def _introduce(directory: str) -> None:
    """Write down who this process is, whole and before anything is started."""
    path = os.path.join(directory, SUPERVISOR_FILE)
    pid = os.getpid()
    with open(path + ".draft", "w", encoding="ascii") as file:
        json.dump({"pid": pid, "start_time": proc.start_time(pid), "boot_id": proc.boot_id()}, file)
    os.replace(path + ".draft", path)


def main(directory: str, lock_fd: int) -> None:
    """Supervise the job in `directory`; `lock_fd` holds the directory's lock for as long as this process lives."""
    ready = _detach()
    os.set_inheritable(lock_fd, False)
    if os.path.exists(os.path.join(directory, STATUS_FILE)):
        return  # whoever was here before has run or buried this job; nothing runs twice
    plan = Plan(directory)
    supervisor = Supervisor(directory, plan)  # takes stop signals from here on, so it may be found from here on
    try:
        _introduce(directory)
    except OSError as error:
        supervisor.refuse(f"cannot start on this host: {error}; make room on its disk")
        return
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(_SUPERVISOR_OOM_SCORE)
    except OSError:
        pass
    os.close(ready)
    supervisor.run()
