"""Leaves an endpoint alone that fails again and again."""

from enum import StrEnum
from typing import Final

from control_plane.clock import Clock

FAILURES_MAX: Final = 3
"""Failed attempts in a row after which an endpoint is left alone."""
OPEN_SECONDS: Final = 30.0
"""For how long at first; twice as long after each failed trial."""
OPEN_SECONDS_MAX: Final = 300.0


class BreakerState(StrEnum):
    """CLOSED: in use. OPEN: left alone. HALF_OPEN: one call tries whether it works again."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """The breaker of one endpoint. Every call that `enter` lets through must end in `succeeded`, `failed` or `left`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._seconds = OPEN_SECONDS
        self._opened_at: float | None = None
        self._trying = False

    @property
    def state(self) -> BreakerState:
        """What is done with calls now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        if self._clock.monotonic() - self._opened_at < self._seconds:
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    @property
    def lets_through(self) -> bool:
        """Whether `enter` would let a call through now."""
        return self.state is BreakerState.CLOSED or (self.state is BreakerState.HALF_OPEN and not self._trying)

    def enter(self) -> bool:
        """Ask whether a call may be made; after the pause only one at a time."""
        if not self.lets_through:
            return False
        self._trying = self.state is BreakerState.HALF_OPEN
        return True

    def succeeded(self) -> None:
        """The endpoint answered."""
        self._failures = 0
        self._seconds = OPEN_SECONDS
        self._opened_at = None
        self._trying = False

    def failed(self) -> None:
        """The endpoint failed, timed out or is too busy."""
        if self._trying:
            self._seconds = min(self._seconds * 2, OPEN_SECONDS_MAX)
            self._opened_at = self._clock.monotonic()
        else:
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                self._opened_at = self._clock.monotonic()
        self._trying = False

    def left(self) -> None:
        """The call ended without telling anything about the endpoint: it was cancelled."""
        self._trying = False
