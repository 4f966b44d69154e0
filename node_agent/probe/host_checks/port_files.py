"""What /sys/class/infiniband says of InfiniBand and RoCE ports. Reading may hang with the adapter's firmware."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node_agent.probe.bounded.text import printable_bytes

MAXIMUM_PORTS: Final = 64
_MAXIMUM_BYTES: Final = 256
_DEVICE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,3}", re.ASCII)
_RATE: Final = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*Gb/sec", re.ASCII)
_COUNT: Final = re.compile(r"\s*([0-9]{1,20})\s*", re.ASCII)

COUNTERS: Final = (
    "link_downed",
    "link_error_recovery",
    "local_link_integrity_errors",
    "excessive_buffer_overrun_errors",
    "symbol_error",
    "port_rcv_errors",
)
"""Error counters below `counters/` that tell of the port itself, not of congestion or of the other end."""


@dataclass(frozen=True, slots=True)
class PortState:
    """How a port stands now."""

    state: str
    """As printed, such as `4: ACTIVE`."""
    physical: str
    """As printed, such as `5: LinkUp`."""
    rate_gbps: float | None

    @property
    def up(self) -> bool:
        """Whether it carries traffic. An Ethernet port says ACTIVE too."""
        return self.state.startswith("4:") or self.state.upper().endswith("ACTIVE")


def list_ports(root: Path) -> list[str]:
    """Return the names of all ports, such as `mlx5_0/1`, in order, at most 64. Does not ask the adapters."""
    names: list[str] = []
    devices = root / "class/infiniband"
    for device in _names(devices, _DEVICE):
        names += (f"{device}/{port}" for port in _names(devices / device / "ports", _PORT))
        if len(names) >= MAXIMUM_PORTS:
            break
    return names[:MAXIMUM_PORTS]


def _names(directory: Path, form: re.Pattern[str]) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if form.fullmatch(name))  # noqa: PTH208 - each second
    except OSError:
        return []


def _directory(root: Path, name: str) -> str:
    device, _, port = name.partition("/")
    return f"{root}/class/infiniband/{device}/ports/{port}"


def read_port(root: Path, name: str) -> PortState | None:
    """Return how a port stands; None if it is gone or cannot be read."""
    directory = _directory(root, name)
    state = _read(f"{directory}/state")
    if state is None:
        return None
    rate = _RATE.match((_read(f"{directory}/rate") or b"").decode("ascii", "replace"))
    physical = printable_bytes(_read(f"{directory}/phys_state") or b"", 40)
    return PortState(printable_bytes(state, 40), physical, float(rate[1]) if rate else None)


def read_counters(root: Path, name: str) -> dict[str, int]:
    """Return the error counters that the port has."""
    directory = _directory(root, name)
    found = {}
    for counter in COUNTERS:
        count = _COUNT.fullmatch((_read(f"{directory}/counters/{counter}") or b"").decode("ascii", "replace"))
        if count:
            found[counter] = int(count[1])
    return found


def _read(path: str) -> bytes | None:
    # Three files for each port each second: the bare system calls cost a third of what a file object does.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(handle, _MAXIMUM_BYTES)
    except OSError:
        return None
    finally:
        os.close(handle)
