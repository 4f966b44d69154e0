"""What can break on a virtual host, and when.

What each fault means is what the real daemon says of it: severity, repair and the vendor's own word for the action.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orquanta.v1 import health_pb2, repair_pb2

_HOUR_SECONDS: Final = 3600.0
OFFLINE: Final = "offline"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault of a GPU. `line` is what the kernel prints, `cure` the gentlest repair that ends it."""

    name: str
    code: int
    severity: health_pb2.ConditionSeverity.ValueType
    summary: str
    line: str
    vendor_action: str
    cure: repair_pb2.RepairRung.ValueType = repair_pb2.REPAIR_RUNG_UNSPECIFIED
    lasts_seconds: float = 0.0
    """After which it is over by itself; 0 if only a repair ends it."""

    @property
    def is_fatal(self) -> bool:
        """Whether the GPU takes no jobs while it lasts."""
        return self.severity == health_pb2.CONDITION_SEVERITY_FATAL


_FATAL: Final = health_pb2.CONDITION_SEVERITY_FATAL
_WARNING: Final = health_pb2.CONDITION_SEVERITY_WARNING
_INFO: Final = health_pb2.CONDITION_SEVERITY_INFO
_RESET: Final = repair_pb2.REPAIR_RUNG_RESET_GPU
_REBOOT: Final = repair_pb2.REPAIR_RUNG_REBOOT_HOST

FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault(
            "xid48", 48, _FATAL, "memory returned an error that cannot be corrected",
            "An uncorrectable double bit error (DBE) has been detected on GPU", "RESET_GPU", _RESET,
        ),
        Fault(
            "xid63", 63, _INFO, "a memory row was remapped; it takes effect at the next reset",
            "Row Remapper: New row marked for remapping, reset gpu to activate.", "IGNORE", lasts_seconds=600.0,
        ),
        Fault(
            "xid64", 64, _FATAL, "remapping a memory row failed",
            "Row Remapper: Error writing to InfoROM", "RESET_GPU", _RESET,
        ),
        Fault(
            "xid79", 79, _FATAL, "the GPU does not answer on PCIe any more",
            "GPU has fallen off the bus.", "RESTART_BM", _REBOOT,
        ),
        Fault(
            "xid92", 92, _WARNING, "correctable memory errors come unusually often",
            "High single-bit ECC error rate", "IGNORE", lasts_seconds=300.0,
        ),
        Fault(
            "xid95", 95, _FATAL, "a memory error could not be contained to one application",
            "Uncontained: LTC TAG", "RESET_GPU", _RESET,
        ),
        Fault(
            "xid119", 119, _FATAL, "the system processor on the GPU did not answer in time",
            "Timeout after 6s of waiting for RPC response from GPU0 GSP!", "RESET_GPU", _RESET,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """When a fault happens: by chance, or on so many hosts at one moment. `fault` is None for a host that goes silent.

    rate_per_host_hour: how often, of one host; 0 for a moment. at_seconds and hosts: the moment, from the start.
    """

    name: str
    fault: Fault | None
    rate_per_host_hour: float = 0.0
    at_seconds: float = 0.0
    hosts: int = 0

    @classmethod
    def parse(cls, text: str) -> "Script":
        """Read `xid79:0.01` or `xid119@60:1000`. Raises ValueError, saying what can be written."""
        what, _, amount = text.partition(":")
        name, at, moment = what.partition("@")
        fault = FAULTS.get(name)
        if fault is None and name != OFFLINE:
            raise ValueError(f"{name!r} is no fault; there are {', '.join(FAULTS)} and {OFFLINE}")
        try:
            if at:
                made = cls(name, fault, at_seconds=float(moment), hosts=int(amount))
            else:
                made = cls(name, fault, rate_per_host_hour=float(amount))
        except ValueError:
            made = cls(name, fault, rate_per_host_hour=-1.0)
        if at and made.hosts == 0 and made.rate_per_host_hour == 0:
            raise ValueError(f"{text!r} is for no host: write at least one ({what}:1)")
        if not (0 <= made.rate_per_host_hour < math.inf and 0 <= made.at_seconds < math.inf and made.hosts >= 0):
            raise ValueError(
                f"{text!r} does not say when: write NAME:RATE, with the rate per host and hour ({name}:0.02), or "
                f"NAME@SECONDS:HOSTS, for so many hosts at once ({name}@60:100)"
            )
        return made

    def chance_within(self, seconds: float) -> float:
        """Return how probable it is that it happens to one host within so short a time."""
        return min(1.0, self.rate_per_host_hour * seconds / _HOUR_SECONDS)


def struck(scripts: Sequence[Script], hosts: int, seconds: float, dice: random.Random) -> list[tuple[Script, int]]:
    """Return what happens by chance to which of so many hosts within so short a time.

    The work grows with what happens, not with the hosts.
    """
    found: list[tuple[Script, int]] = []
    for script in scripts:
        expected = script.chance_within(seconds) * hosts
        number = int(expected) + (dice.random() < expected % 1)
        found += [(script, dice.randrange(hosts)) for _ in range(min(number, hosts))]
    return found
