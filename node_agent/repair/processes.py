"""What /proc says about processes that a repair may have to stop or wait for."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node_agent.repair.text import printable

PROC: Final = Path("/proc")
_STATE, _PPID, _FLAGS, _START_TIME = 0, 1, 6, 19  # fields of /proc/<pid>/stat after the command's name
_KERNEL_THREAD: Final = 0x00200000  # PF_KTHREAD of linux/sched.h
_MAXIMUM_ANCESTORS: Final = 64
_MAXIMUM_PLACE: Final = 100
_CONTAINER: Final = re.compile(
    r"(?:(docker|libpod|cri-containerd|crio|podman|lxc)[-/])?([0-9a-f]{12})[0-9a-f]{52}", re.ASCII
)
"""An engine and the id of a container, of which people see the first twelve digits."""
_POD: Final = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})", re.ASCII)
_SYSTEM_UNIT: Final = re.compile(r"[^/]*:/system\.slice/(?:system-[^/]+\.slice/)?([^/]+\.service)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Process:
    """One process, named for good by its id and the tick at which it started."""

    pid: int
    start_ticks: int
    parent: int
    name: str
    state: str
    kernel_thread: bool


def look(pid: int) -> Process | None:
    """Return a live process; None when it is gone or a zombie."""
    try:
        line = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    opening, closing = line.find(b"("), line.rfind(b")")
    fields = line[closing + 2 :].decode("ascii", "replace").split()
    if len(fields) <= _START_TIME or fields[_STATE] in "ZX":
        return None
    return Process(
        pid=pid,
        start_ticks=int(fields[_START_TIME]),
        parent=int(fields[_PPID]),
        name=printable(line[opening + 1 : closing], 32),
        state=fields[_STATE],
        kernel_thread=bool(int(fields[_FLAGS]) & _KERNEL_THREAD),
    )


def is_alive(pid: int, start_ticks: int) -> bool:
    """Say whether the process that had this id and start still runs."""
    process = look(pid)
    return process is not None and process.start_ticks == start_ticks


def all_pids() -> list[int]:
    """Return the ids of all processes."""
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208 - names are all that is needed


def ancestors(pid: int) -> list[int]:
    """Return the parents of a process up to the first, nearest first."""
    found: list[int] = []
    process = look(pid)
    while process is not None and process.parent > 0 and len(found) < _MAXIMUM_ANCESTORS:
        found.append(process.parent)
        process = look(process.parent)
    return found


def started_at(process: Process) -> datetime | None:
    """Return when a process started, by the wall clock as it is now; None when the kernel does not say."""
    try:
        for line in (PROC / "stat").read_text("ascii").splitlines():
            if line.startswith("btime "):
                seconds = int(line.split()[1]) + process.start_ticks / os.sysconf("SC_CLK_TCK")
                return datetime.fromtimestamp(seconds, UTC)
    except (OSError, ValueError):
        pass
    return None


def unit_of(pid: int) -> str:
    """Return the service of the system whose control group a process is in; empty if it is in none.

    Units of users and groups inside containers may bear any name, and say nothing.
    """
    try:
        lines = (PROC / str(pid) / "cgroup").read_text("ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((match[1] for line in lines if (match := _SYSTEM_UNIT.fullmatch(line))), "")


def place_of(pid: int) -> str:
    """Return for a person where a process runs: its container and pod, else its control group; empty if in none.

    Whoever made the control group has named it, so that this is for reading alone.
    """
    try:
        lines = (PROC / str(pid) / "cgroup").read_text("ascii", errors="replace").splitlines()
    except OSError:
        return ""
    paths = [line.split(":", 2)[2] for line in lines if line.count(":") > 1]
    for path in paths:
        if match := _CONTAINER.search(path):
            pod = _POD.search(path)
            words = ["container", *([match[1]] if match[1] else []), match[2]]
            return " ".join(words) + (f" of pod {pod[1].replace('_', '-')}" if pod else "")
    # With version 1 of control groups there is a path for each controller; the longest says most.
    path = max(paths, key=len, default="").strip("/")
    return f"cgroup {printable(path, _MAXIMUM_PLACE)}" if path else ""


def with_environment(entry: bytes) -> list[int]:
    """Return the live processes that were started with this `NAME=value` in their environment."""
    found = []
    for pid in all_pids():
        try:
            with (PROC / str(pid) / "environ").open("rb") as file:
                marked = entry in file.read(1024 * 1024).split(b"\0")
        except OSError:
            continue
        if marked and pid != os.getpid() and look(pid) is not None:
            found.append(pid)
    return found
