"""Who has GPUs open: found in /proc, told apart into our own, services that may be stopped, and strangers."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from node_agent.repair import processes
from node_agent.repair.arguments import FABRIC_MANAGER, HOLDING_SERVICES

DEVICE_PREFIX: Final = "/dev/nvidia"
_STOPPABLE: Final = frozenset(HOLDING_SERVICES)
MAXIMUM_HOLDERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has devices of GPUs open."""

    pid: int
    name: str
    devices: frozenset[str]
    """The part of the device's path after the prefix, such as `0`, `ctl`, `-uvm`."""


@dataclass(frozen=True, slots=True)
class Holders:
    """Everybody who has something open. `unseen` counts processes that could not be looked into."""

    holders: tuple[Holder, ...]
    unseen: int


def find_holders(device_prefix: str = DEVICE_PREFIX) -> Holders:
    """Look at the open files and mappings of all processes. Takes milliseconds per hundred processes; blocks."""
    found: list[Holder] = []
    unseen = 0
    pattern = re.compile(re.escape(device_prefix) + r"([A-Za-z0-9/_-]{1,64})(?: \(deleted\))?", re.ASCII)
    for pid in processes.all_pids():
        devices, readable = _devices_of(pid, pattern, device_prefix)
        if not readable:
            unseen += 1
        if devices and len(found) < MAXIMUM_HOLDERS:
            process = processes.look(pid)
            if process is not None:
                found.append(Holder(pid, process.name, frozenset(devices)))
    return Holders(tuple(found), unseen)


def on_gpus(holders: Holders, minor_numbers: Collection[int]) -> tuple[Holder, ...]:
    """Return who has one of these GPUs open."""
    wanted = {str(number) for number in minor_numbers}
    return tuple(holder for holder in holders.holders if holder.devices & wanted)


def service_of(holder: Holder, main_pids: Mapping[int, str]) -> str:
    """Return the service that a holder belongs to: by its control group, else by a service's main process; or empty."""
    unit = processes.unit_of(holder.pid)
    if unit in _STOPPABLE or unit == FABRIC_MANAGER:
        return unit
    for pid in (holder.pid, *processes.ancestors(holder.pid)):
        if pid in main_pids and pid > 1:
            return main_pids[pid]
    return ""


def _devices_of(pid: int, pattern: "re.Pattern[str]", prefix: str) -> tuple[set[str], bool]:
    found: set[str] = set()
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names are all that is needed
    except (FileNotFoundError, ProcessLookupError):
        return found, True
    except PermissionError:
        return found, False
    for name in names:
        try:
            target = os.readlink(f"{directory}/{name}")  # noqa: PTH115 - thousands of them
        except OSError:
            continue
        if target.startswith(prefix):
            match = pattern.fullmatch(target)
            if match is not None:
                found.add(match[1])
    found |= _mapped(pid, pattern, prefix)
    return found, True


def _mapped(pid: int, pattern: "re.Pattern[str]", prefix: str) -> set[str]:
    """Return devices that stay open by a mapping alone, after their file was closed."""
    found: set[str] = set()
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - thousands of them
            for line in file:
                start = line.find(prefix)
                if start >= 0:
                    match = pattern.fullmatch(line[start:].rstrip("\n"))
                    if match is not None:
                        found.add(match[1])
    except OSError:
        pass
    return found
