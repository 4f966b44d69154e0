"""Signals by which a job can be asked for a checkpoint."""

from collections.abc import Mapping
from typing import Final

CHECKPOINT_SIGNALS: Final[Mapping[str, int]] = {
    "SIGHUP": 1,
    "SIGINT": 2,
    "SIGUSR1": 10,
    "SIGUSR2": 12,
    "SIGTSTP": 20,
    "SIGURG": 23,
    "SIGWINCH": 28,
    "SIGIO": 29,
    "SIGPWR": 30,
}
"""Numbers on Linux. Signals that end or stop a process whatever it does, or that the kernel sends for faults, are
not among them."""
