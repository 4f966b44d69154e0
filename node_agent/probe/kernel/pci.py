"""PCI bus ids, of which drivers print many forms."""

import re
from typing import Final

_BUS_ID: Final = re.compile(
    r"(?:(?P<domain>[0-9a-f]{1,8}):)?(?P<bus>[0-9a-f]{1,4}):(?P<device>[0-9a-f]{1,2})(?:\.(?P<function>[0-9a-f]))?",
    re.IGNORECASE,
)


def normalise_pci_bus_id(printed: str) -> str:
    """Return a PCI bus id as `0000:03:00.0`, or an empty string if `printed` is none.

    Takes any width of the domain, none at all, and ids without a function (function 0). Drivers before 2010 printed
    the bus with four digits and no domain.
    """
    match = _BUS_ID.fullmatch(printed.strip())
    if match is None:
        return ""
    bus = int(match["bus"], 16)
    if bus > 0xFF:  # noqa: PLR2004 - a bus number has eight bits
        return ""
    domain = int(match["domain"] or "0", 16)
    return f"{domain:04x}:{bus:02x}:{int(match['device'], 16):02x}.{int(match['function'] or '0', 16):x}"
