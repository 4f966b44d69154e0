"""What /proc and the kernel say about processes. Standard library only: the supervisor imports this."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH116, PTH123, PTH208
from __future__ import annotations

import os
import time

_STATE, _PPID, _SESSION, _START_TIME = 0, 1, 3, 19  # fields of /proc/<pid>/stat after the command's name


def boottime_seconds() -> float:
    """Return seconds since the host booted, time asleep included (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the kernel's id of this boot: a process noted under another id is dead."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat that follow the command's name; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None
    return line[line.rfind(b")") + 2 :].decode("ascii", "replace").split()


def start_time(pid: int) -> str | None:
    """Return when a live process started, in clock ticks since boot; None when it is gone or a zombie.

    Process id and start time together name one process for as long as the host is up.
    """
    fields = stat_fields(pid)
    if fields is None or fields[_STATE] in "ZX":
        return None
    return fields[_START_TIME]


def is_alive(pid: int, started: str) -> bool:
    """Say whether the process that had this id and start time still runs."""
    return start_time(pid) == started


def all_pids() -> list[int]:
    """Return the ids of all processes that this /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(root: int) -> list[int]:
    """Return the live processes below `root`, each behind its parent; `root` is not among them."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        fields = stat_fields(pid)
        if fields is not None and fields[_STATE] not in "ZX":
            children.setdefault(int(fields[_PPID]), []).append(pid)
    found: list[int] = []
    level = [root]
    while level:
        level = [child for parent in level for child in children.get(parent, ())]
        found.extend(level)
    return found


def first_child(pid: int) -> int | None:
    """Return one child of a process that has a single thread, or None."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            names = file.read().split()
    except OSError:
        return None
    return int(names[0]) if names else None


def catches(pid: int, number: int) -> bool:
    """Say whether a process has a handler of its own for a signal, which would end it otherwise."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            caught = next((line.split()[1] for line in file if line.startswith(b"SigCgt:")), b"0")
    except OSError:
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def own_arguments(pid: int) -> list[str]:
    """Return the arguments of a process of this process's own user; none of anybody else's."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
            return []
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [os.fsdecode(argument) for argument in file.read().split(b"\0")[:-1]]
    except OSError:
        return []


def environment_entries(pid: int) -> list[bytes]:
    """Return each `NAME=value` that a process was started with; none of a process that may not be looked at."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def kernel_oom_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory since boot; 0 when it does not say."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0
