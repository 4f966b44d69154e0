"""The host itself, read from /proc and /etc. A file that is missing or odd yields None, never an error."""

import os
import platform
import re
import socket
from pathlib import Path
from typing import Final

from node_agent.probe.samples import HostSample

_KIBIBYTE: Final = 1024
_MODEL_NAME: Final = re.compile(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", re.MULTILINE)
_IDLE_FIELDS: Final = slice(3, 5)  # idle and iowait in /proc/stat
_COUNTED_FIELDS: Final = slice(0, 8)  # guest time, which follows, is part of user time already
_MAXIMUM_TEXT: Final = 256


_MEMORY: Final = re.compile(
    r"^(MemTotal|MemAvailable|SwapTotal|SwapFree):[ \t]*([0-9]{1,15})\b", re.MULTILINE | re.ASCII
)
_PROC_BYTES: Final = 4096
"""Enough of /proc/meminfo, and of the first lines of the others; one read asks the kernel for the figures once."""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_proc(path: str) -> str:
    # Each second, and a file object makes six more system calls.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, _PROC_BYTES).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def read_line(path: Path) -> str | None:
    """Return the first line of a file, at most 256 characters, or None."""
    text = _read(path).partition("\n")[0].strip()
    return text[:_MAXIMUM_TEXT] or None


def hostname() -> str:
    """Return this host's name."""
    return socket.gethostname()


def kernel() -> str:
    """Return the kernel's release, such as `6.8.0-45-generic`."""
    return platform.release()


def os_name(root: Path) -> str | None:
    """Return the distribution's name, such as `Ubuntu 24.04.1 LTS`."""
    for line in _read(root / "etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'")[:_MAXIMUM_TEXT] or None
    return None


def cpu_model(root: Path) -> str | None:
    """Return the processor's name, or the architecture where the kernel gives no name."""
    match = _MODEL_NAME.search(_read(root / "proc/cpuinfo"))
    return match[1].strip()[:_MAXIMUM_TEXT] if match else platform.machine() or None


def memory_bytes(root: Path) -> dict[str, int]:
    """Return all memory and swap, and how much of it is free, in bytes by the names of /proc/meminfo."""
    return _memory_bytes(f"{root}/proc/meminfo")


def _memory_bytes(path: str) -> dict[str, int]:
    return {name: int(kibibytes) * _KIBIBYTE for name, kibibytes in _MEMORY.findall(_read_proc(path))}


def _floats(text: str, count: int) -> list[float | None]:
    values: list[float | None] = []
    for word in text.split()[:count]:
        try:
            values.append(float(word))
        except ValueError:
            values.append(None)
    return values + [None] * (count - len(values))


class HostSampler:
    """Reads the host's load; keeps the processor times of the sample before, to tell the share since then."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Read below `root`, which is `/` outside tests."""
        self._proc = str(root / "proc")
        self._busy_ticks = 0
        self._all_ticks = 0

    def sample(self) -> HostSample:
        """Return the host's load now."""
        load = _floats(_read_proc(f"{self._proc}/loadavg"), 3)
        memory = _memory_bytes(f"{self._proc}/meminfo")
        swap_total, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
        return HostSample(
            cpu_percent=self._cpu_percent(),
            load_1m=load[0],
            load_5m=load[1],
            load_15m=load[2],
            memory_total_bytes=memory.get("MemTotal"),
            memory_available_bytes=memory.get("MemAvailable"),
            swap_used_bytes=None if swap_total is None or swap_free is None else swap_total - swap_free,
            uptime_seconds=_floats(_read_proc(f"{self._proc}/uptime"), 1)[0],
        )

    def _cpu_percent(self) -> float | None:
        words = _read_proc(f"{self._proc}/stat").partition("\n")[0].split()
        if len(words) <= _COUNTED_FIELDS.stop or words[0] != "cpu":
            return None
        try:
            ticks = [int(word) for word in words[1:]]
        except ValueError:
            return None
        total = sum(ticks[_COUNTED_FIELDS])
        busy = total - sum(ticks[_IDLE_FIELDS])
        elapsed, worked = total - self._all_ticks, busy - self._busy_ticks
        first = self._all_ticks == 0
        self._all_ticks, self._busy_ticks = total, busy
        if first or elapsed <= 0:
            return None
        return min(100.0, max(0.0, 100.0 * worked / elapsed))  # iowait may run backwards by a tick
