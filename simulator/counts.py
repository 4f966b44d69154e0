"""What is counted and timed on the virtual hosts of a process, all together."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

LATENCIES_MAX: Final = 20_000


@dataclass(slots=True)
class HostCounts:
    """What happened on the virtual hosts of a process."""

    members_started: int = 0
    members_succeeded: int = 0
    members_failed: int = 0
    members_stopped: int = 0
    faults: int = 0
    cleared: int = 0
    repairs_taken: int = 0
    repairs_succeeded: int = 0
    repairs_failed: int = 0
    orders_refused: int = 0
    spool_lost: int = 0


@dataclass(slots=True)
class Latencies:
    """Milliseconds, the newest of each kind.

    `told`: from a record until its host heard that it is in the books. `ordered`: from the first word of a condition
    until its host has the order to repair it.
    """

    told: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_MAX))
    ordered: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_MAX))
