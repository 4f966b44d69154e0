"""Options that several commands share."""

import re
from collections.abc import Generator, Iterable
from contextlib import closing
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from typing import Annotated, TypeVar

import typer

Item = TypeVar("Item")
State = TypeVar("State", bound=StrEnum)

# The most that a number may be, so that it fits the contract whatever its unit.
COUNT_MAX = 2**31 - 1
RECORD_MAX = 2**63 - 1
CPUS_MAX = 1_000_000
GIB_MAX = 1_000_000_000
HOURS_MAX = 87_600
USD_MAX = 1_000_000_000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the audit.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, max=COUNT_MAX, help="At most this many; 0 for all.")]
States = Annotated[list[str] | None, typer.Option("--state", "-s", help="Only in this state; may be repeated.")]
NodeReference = Annotated[str, typer.Argument(metavar="NODE", help="The node's id or name.")]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Makes a repeated command safe: same id, same effect, once.")
]

_SHARE = re.compile(r"(\d{1,3})m|(0?\.\d{1,6})")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_states(kind: type[State], names: Iterable[str] | None) -> list[State]:
    """The states that were named; `-` and `_` are the same. Raises a usage error for an unknown one."""
    known = {member.value: member for member in kind if member.value != "unknown"}
    found = []
    for name in names or ():
        member = known.get(name.lower().replace("-", "_"))
        if member is None:
            raise typer.BadParameter(f"{name!r} is not a state; there are: {', '.join(known)}")
        found.append(member)
    return found


def parse_span(text: str) -> timedelta:
    """A duration such as 90s, 15m, 8h or 7d. Raises a usage error."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write it like 90s, 15m, 8h or 7d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > HOURS_MAX * _SECONDS["h"]:
        raise typer.BadParameter(f"{text!r} is too long; give {HOURS_MAX // 24}d at most")
    return timedelta(seconds=seconds)


def parse_share(text: str) -> int:
    """A part of one GPU in thousandths: `0.25` and `250m` are both 250. Raises a usage error."""
    match = _SHARE.fullmatch(text.strip().lower())
    milli = 0 if match is None else int(match[1]) if match[1] else round(float(match[2]) * 1000)
    if not 0 < milli < 1000:  # noqa: PLR2004 - a whole GPU is no part
        raise typer.BadParameter(f"{text!r} is not a part of a GPU; write it like 0.25 or 250m")
    return milli


def parse_pairs(pairs: Iterable[str] | None, what: str) -> dict[str, str]:
    """`KEY=VALUE` arguments. Raises a usage error for one without `=`."""
    found = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is not a {what}; write it like KEY=VALUE")
        found[key] = value
    return found


def first(items: Generator[Item, None, None], limit: int) -> list[Item]:
    """The first items, or all of them for 0."""
    with closing(items):
        return list(islice(items, limit or None))


def page_size(limit: int) -> int:
    """How many to ask for at once: what is wanted, within what servers allow."""
    return min(limit, 500) if limit else 500
