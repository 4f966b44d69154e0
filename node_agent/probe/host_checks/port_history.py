"""What one port did before, and what its state now means in the light of it."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from node_agent.probe.host_checks.port_files import PortState
from node_agent.probe.observations import Standing

FLAP_WINDOW_SECONDS: Final = 600.0
FLAPS: Final = 3
"""Times that a port goes down within ten minutes before it is said to flap."""
ERROR_WINDOW_SECONDS: Final = 3_600.0
_MAXIMUM_KEPT: Final = 64
"""Growths of one counter that are kept; nearer ones than a minute are added up."""
_STEP_SECONDS: Final = 60.0
_RATE_TOLERANCE: Final = 0.99

ALLOWED_PER_HOUR: Final[Mapping[str, int]] = {
    "link_downed": 0,
    "link_error_recovery": 5,
    "local_link_integrity_errors": 0,
    "excessive_buffer_overrun_errors": 2,
    "symbol_error": 120,
    "port_rcv_errors": 120,
}
"""Growth within an hour that is no finding. Single symbol errors are within the specified bit error rate; a link that
was down or broke its integrity limit is not."""


class PortHistory:
    """One port's past, of which only what is recent or needed is kept."""

    def __init__(self, *, expected: bool, best_rate_gbps: float = 0.0) -> None:
        self.expected = expected
        """Whether it should be up: it was before, or the settings say so."""
        self.best_rate_gbps = best_rate_gbps
        self._was_up = False
        self._downs: deque[float] = deque(maxlen=_MAXIMUM_KEPT)
        self._counters: dict[str, int] = {}
        self._growth: dict[str, deque[tuple[float, int]]] = {}

    def judge_state(self, port: PortState | None, now: float) -> tuple[Standing, str]:
        """Judge its state; None means that the port is gone. `now` in monotonic seconds."""
        up = port is not None and port.up
        if self._was_up and not up:
            self._downs.append(now)
        self._was_up = up
        if port is None:
            return (Standing.BAD, "is gone, with its adapter") if self.expected else (Standing.GOOD, "is gone")
        if not up:
            state = f"{port.state}, {port.physical}"
            if self.expected:
                return Standing.BAD, f"is down ({state}); it was up before, or the settings say that it must be"
            return Standing.GOOD, f"is not in use ({state})"
        self.expected = True
        rate = port.rate_gbps or 0.0
        self.best_rate_gbps = max(self.best_rate_gbps, rate)
        flaps = max(self._recent_downs(now), self.growth("link_downed", now, FLAP_WINDOW_SECONDS))
        if flaps >= FLAPS:
            return Standing.WARNING, f"flaps: went down {flaps} times within 10 minutes"
        if 0 < rate < self.best_rate_gbps * _RATE_TOLERANCE:
            return Standing.WARNING, f"runs at {rate:g} Gb/s; it ran at {self.best_rate_gbps:g} Gb/s before"
        return Standing.GOOD, f"is up at {rate:g} Gb/s" if rate else "is up"

    def _recent_downs(self, now: float) -> int:
        while self._downs and now - self._downs[0] > FLAP_WINDOW_SECONDS:
            self._downs.popleft()
        return len(self._downs)

    def note_counters(self, counters: Mapping[str, int], now: float) -> None:
        """Take the counters as they are now. One that shrank was reset, and starts again from there."""
        for name, count in counters.items():
            before = self._counters.get(name)
            self._counters[name] = count
            if before is None or count <= before:
                continue
            growth = self._growth.setdefault(name, deque(maxlen=_MAXIMUM_KEPT))
            if growth and now - growth[-1][0] < _STEP_SECONDS:
                growth[-1] = (growth[-1][0], growth[-1][1] + count - before)
            else:
                growth.append((now, count - before))

    def growth(self, counter: str, now: float, window_seconds: float) -> int:
        """Return by how much a counter grew within the window up to now."""
        return sum(grown for at, grown in self._growth.get(counter, ()) if now - at <= window_seconds)

    def judge_counters(self, now: float) -> tuple[Standing, str]:
        """Judge by how much the counters grew within the last hour."""
        grown = {name: self.growth(name, now, ERROR_WINDOW_SECONDS) for name in ALLOWED_PER_HOUR}
        beyond = [f"{name} +{count}" for name, count in grown.items() if count > ALLOWED_PER_HOUR[name]]
        if beyond:
            return Standing.WARNING, f"errors within the last hour: {', '.join(beyond)}"
        return Standing.GOOD, "no unusual errors within the last hour"
