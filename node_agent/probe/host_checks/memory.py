"""Whether the host is short of memory."""

from pathlib import Path
from typing import Final

from node_agent.clock import Clock
from node_agent.probe.host import memory_bytes
from node_agent.probe.host_checks.settings import GIBIBYTE, HostCheckSettings, MemoryLimits
from node_agent.probe.observations import HostFinding, HostReport, Standing

_PRESSURE_BYTES: Final = 1024


def stalled_percent(path: Path) -> float | None:
    """Return the share of the last minute in which no task got on for want of memory; None if not told.

    From the line `full avg10=… avg60=… avg300=… total=…` of /proc/pressure/memory (Linux 4.20, where compiled in).
    """
    try:
        with path.open("rb") as file:
            text = file.read(_PRESSURE_BYTES).decode("ascii", "replace")
    except OSError:
        return None
    for line in text.splitlines():
        kind, *words = line.split()
        for word in words if kind == "full" else ():
            name, _, value = word.partition("=")
            if name == "avg60":
                return _number(value)
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 100 else None  # noqa: PLR2004 - a share in percent; not NaN either


class Memory:
    """Looks at the memory."""

    def __init__(self, settings: HostCheckSettings, clock: Clock) -> None:
        self._root = settings.proc_root
        self._limits = settings.memory_limits
        self._clock = clock

    async def look(self) -> list[HostReport]:
        """Return how the memory stands. Reads /proc, which does not hang."""
        values = memory_bytes(self._root.parent)
        total, available = values.get("MemTotal", 0), values.get("MemAvailable")
        if not total or available is None:
            return []
        stalled = stalled_percent(self._root / "pressure/memory")
        percent = 100 * available / total
        text = f"{available / GIBIBYTE:.1f} GiB of {total / GIBIBYTE:.1f} GiB available ({percent:.0f} %)"
        if stalled is not None and stalled >= 1:
            text += f"; all tasks waited for memory {stalled:.0f} % of the last minute"
        standing = judge(percent, stalled or 0.0, self._limits)
        return [HostReport(HostFinding.MEMORY, "memory", standing, text, self._clock.now())]


def judge(available_percent: float, stalled: float, limits: MemoryLimits) -> Standing:
    """Judge by what is available and by how much work stands still for want of it."""
    if available_percent < limits.bad_available_percent or stalled >= limits.bad_stalled_percent:
        return Standing.BAD
    if available_percent < limits.warning_available_percent or stalled >= limits.warning_stalled_percent:
        return Standing.WARNING
    return Standing.GOOD
