"""Whether the host's clock is right: what the kernel says of it, and what the link measures."""

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node_agent.clock import Clock
from node_agent.probe.host_checks.settings import ClockLimits
from node_agent.probe.observations import HostFinding, HostReport, Standing

KERNEL: Final = "kernel"
LINK: Final = "link"
_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x0040
_STA_NANO: Final = 0x2000


class _Timex(ctypes.Structure):
    """`struct timex` of linux/timex.h, with room for what a later kernel may add."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel knows of its own clock."""

    synchronised: bool
    """Whether something (chrony, ntpd, timesyncd) keeps it right."""
    offset_seconds: float
    """What is still to be corrected, if the kernel's own loop corrects."""
    error_seconds: float
    """The kernel's bound of the error."""


_adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex


def read_kernel_clock() -> KernelClock:
    """Ask the kernel by adjtimex(2), changing nothing; needs no right. Raises OSError."""
    buffer = _Timex()
    state = _adjtimex(ctypes.byref(buffer))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    parts_of_a_second = 1_000_000_000 if buffer.status & _STA_NANO else 1_000_000
    return KernelClock(
        synchronised=state != _TIME_ERROR and not buffer.status & _STA_UNSYNC,
        offset_seconds=buffer.offset / parts_of_a_second,
        error_seconds=buffer.maxerror / 1_000_000,
    )


class ClockDrift:
    """Looks at the clock."""

    def __init__(self, limits: ClockLimits, clock: Clock, read: Callable[[], KernelClock] = read_kernel_clock) -> None:
        """`read` asks the kernel; a test gives one of its own."""
        self._limits = limits
        self._clock = clock
        self._read = read
        self._link_drift_seconds: float | None = None

    def note_link_drift(self, seconds: float) -> None:
        """Take what the link measured: this host's clock minus the control plane's, in seconds."""
        self._link_drift_seconds = seconds

    async def look(self) -> list[HostReport]:
        """Return how the clock stands, by the kernel and, once it measured, by the link."""
        reports = [self._by_kernel()]
        if self._link_drift_seconds is not None:
            reports.append(self._by_link(self._link_drift_seconds))
        return reports

    def _by_kernel(self) -> HostReport:
        try:
            state = self._read()
        except OSError as error:  # forbidden in some containers
            return self._report(KERNEL, Standing.UNKNOWN, f"the kernel does not tell: {error.strerror}")
        if not state.synchronised:
            text = "nothing keeps the clock right: start chronyd, ntpd or systemd-timesyncd"
            return self._report(KERNEL, Standing.WARNING, text)
        offset, error_bound = abs(state.offset_seconds), state.error_seconds
        wrong = max(offset, error_bound) >= self._limits.warning_error_seconds
        text = f"kept right; off by {offset * 1000:.0f} ms, at most {error_bound * 1000:.0f} ms"
        return self._report(KERNEL, Standing.WARNING if wrong else Standing.GOOD, text)

    def _by_link(self, drift_seconds: float) -> HostReport:
        standing = Standing.GOOD
        if abs(drift_seconds) >= self._limits.bad_drift_seconds:
            standing = Standing.BAD
        elif abs(drift_seconds) >= self._limits.warning_drift_seconds:
            standing = Standing.WARNING
        direction = "ahead of" if drift_seconds > 0 else "behind"
        return self._report(LINK, standing, f"{abs(drift_seconds):.1f} s {direction} the control plane's clock")

    def _report(self, subject: str, standing: Standing, text: str) -> HostReport:
        return HostReport(HostFinding.CLOCK_DRIFT, subject, standing, text, self._clock.now())
