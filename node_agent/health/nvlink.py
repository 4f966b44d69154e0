"""What the registers of XID 74 say, after WORKFLOW_NVLINK_ERR of NVIDIA's Xid Catalog (Hopper and earlier)."""

import re
from enum import Enum
from typing import Final

_REGISTERS: Final = re.compile(r"\(\s*(0x[0-9a-fA-F]{1,8}(?:\s*,\s*0x[0-9a-fA-F]{1,8}){4,6})\s*\)")
_LINK: Final = re.compile(r"\blink\s+(\d{1,3})\b", re.IGNORECASE)


class LinkFault(Enum):
    """What kind of trouble a link has."""

    HARMLESS = "harmless"
    """Only bits that may be ignored, or that say that a threshold of corrected errors was passed."""
    SECONDARY = "secondary"
    """A follow-on of another fault, which alone is acted on."""
    SIGNAL = "signal"
    """A marginal signal: connections should be checked."""
    PARITY = "parity"
    """An ECC or parity error; the third on one link is a defect."""
    LINK = "link"
    """The link failed: a reset is needed to train it again."""
    UNKNOWN = "unknown"
    """No registers, or bits that the workflow does not name."""


def _bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


# Per register, counted from 0: the masks of each kind of fault.
_MASKS: Final[tuple[dict[LinkFault, int], ...]] = (
    {
        LinkFault.HARMLESS: _bits(0, 23, 30),
        LinkFault.SECONDARY: _bits(1, 20),
        LinkFault.SIGNAL: _bits(21, 22),
        LinkFault.PARITY: _bits(4, 5),
        LinkFault.LINK: _bits(8, 9, 12, 16, 17, 24, 27, 28, 29),
    },
    {},
    {LinkFault.PARITY: _bits(0, 1, 2, 6), LinkFault.LINK: _bits(13, 16, 17, 18, 19)},
    {LinkFault.SECONDARY: _bits(16, 17), LinkFault.LINK: _bits(18)},
    {LinkFault.HARMLESS: _bits(20, 23, 26, 29), LinkFault.PARITY: _bits(18, 19, 21, 22, 24, 25, 27, 28)},
)
_WORST_FIRST: Final = (LinkFault.LINK, LinkFault.PARITY, LinkFault.SIGNAL, LinkFault.SECONDARY, LinkFault.HARMLESS)


def read_link(detail: str) -> int | None:
    """Return the number of the link that a line names."""
    match = _LINK.search(detail)
    return int(match[1]) if match else None


def read_fault(detail: str) -> LinkFault:
    """Return the worst fault that the registers in a line name."""
    match = _REGISTERS.search(detail)
    if match is None:
        return LinkFault.UNKNOWN
    registers = [int(text, 16) for text in match[1].split(",")]
    found: set[LinkFault] = set()
    for register, masks in zip(registers, _MASKS, strict=False):
        named = 0
        for fault, mask in masks.items():
            named |= mask
            if register & mask:
                found.add(fault)
        if masks and register & ~named:  # the second register means nothing on these GPUs
            return LinkFault.UNKNOWN
    return next((fault for fault in _WORST_FIRST if fault in found), LinkFault.UNKNOWN)
