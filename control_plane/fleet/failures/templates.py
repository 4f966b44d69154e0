"""Lines of a log by what they have in common: numbers and addresses apart, most lines are the same few. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.fleet.failures.case import LogLine

_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{12,}\b|\d+(?:\.\d+)?")
_TELLING = re.compile(
    r"error|fail|exception|fatal|abort|panic|denied|refus|invalid|cannot|can't|unable|missing|not found|timed? ?out"
    r"|killed|traceback|assert|corrupt|mismatch|unexpected|unsupported|exceed|expired|quota|licen[cs]e|stuck|hang"
    r"|stall|deadlock|gave up|giving up|violat|incompatible|conflict|no such|too (?:many|large|long|small)",
    re.IGNORECASE,
)
_CHARACTERS_MAX = 400


@dataclass(frozen=True, slots=True)
class Template:
    """Lines that differ in their numbers only. `first` and `last` are two of them; `count` is how many there are."""

    first: LogLine
    last: LogLine
    count: int
    telling: bool


def templates(lines: Sequence[LogLine]) -> tuple[Template, ...]:
    """Return what was written, the most telling first: what speaks of trouble, then what is rare, then what is late."""
    found: dict[tuple[int, str], Template] = {}
    places: dict[tuple[int, str], int] = {}
    for place, line in enumerate(lines):
        text = line.text[:_CHARACTERS_MAX]
        key = (line.rank, _VARIABLE.sub("#", text))
        known = found.get(key)
        if known is None:
            found[key] = Template(line, line, 1, _TELLING.search(text) is not None)
        else:
            found[key] = Template(known.first, line, known.count + 1, known.telling)
        places[key] = place
    ordered = sorted(found, key=lambda key: (not found[key].telling, found[key].count, -places[key]))
    return tuple(found[key] for key in ordered)
