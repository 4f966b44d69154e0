"""Bounds results: what does not fit loses its middle, and the whole of it is kept for a while under a handle."""

import json
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from control_plane.model.ids import UserId
from control_plane.tools.output import Output

KEPT_MAX: Final = 64
"""Results that are kept in whole; the ones unused for longest make room."""
KEPT_BYTES_MAX: Final = 512 * 1024
"""Bytes of one kept result; what is longer is kept up to here."""

_CUTS_MAX: Final = 200
_LEAST_CUT: Final = 3  # entries of a list that has a middle
_NOTE: Final = 40  # characters that say what was left out
_TEXT_LEFT: Final = 400  # characters that a cut text keeps at least

OutputT = TypeVar("OutputT", bound=Output)


@dataclass(frozen=True, slots=True)
class Kept:
    """A result in whole: whose it is, its JSON, and whether strangers' words are in it."""

    user_id: UserId
    text: str
    untrusted: bool


class Shelf:
    """Results that were too long to show. It holds at most 64 of 512 KiB each, in memory alone."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def keep(self, user_id: UserId, text: str, *, untrusted: bool) -> str:
        """Keep a result and return its handle."""
        handle = f"result-{secrets.token_hex(8)}"
        self._kept[handle] = Kept(user_id, text[:KEPT_BYTES_MAX], untrusted)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return handle

    def get(self, user_id: UserId, handle: str) -> Kept | None:
        """Return what this user was given the handle for, or None."""
        kept = self._kept.get(handle)
        if kept is None or kept.user_id != user_id:
            return None
        self._kept.move_to_end(handle)
        return kept


def dumped(data: Any) -> str:  # Any: JSON of any shape
    """Return data as compact JSON."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def bounded(
    output: Output, *, bytes_max: int, shelf: Shelf, user_id: UserId, untrusted: bool
) -> tuple[dict[str, Any], bool]:  # Any: JSON of any shape
    """Return a result as JSON of at most `bytes_max` bytes, and whether it was cut.

    A cut one fits its schema still: its longest lists lose entries in their middle, then its longest texts characters.
    """
    data = output.model_dump(mode="json")
    whole = dumped(data)
    if len(whole.encode()) <= bytes_max:
        return data, False
    data["handle"] = shelf.keep(user_id, whole, untrusted=untrusted)
    for _ in range(_CUTS_MAX):
        over = len(dumped(data).encode()) - bytes_max
        if over <= 0:
            break
        data["left_out"] += _cut(data, over)
    return data, True


def _cut(data: dict[str, Any], over: int) -> int:  # Any: JSON of any shape
    """Take about `over` bytes out of the largest list or text; return how many entries that cost."""
    places = list(_places(data))
    lists = [place for place in places if isinstance(place[3], list) and len(place[3]) >= _LEAST_CUT]
    if lists:
        _, holder, key, entries = max(lists, key=lambda place: place[0])
        size = max(len(dumped(entries).encode()), 1)
        gone = min(max(1, len(entries) * over // size + 1), len(entries) - 2)
        head = (len(entries) - gone + 1) // 2
        holder[key] = entries[:head] + entries[head + gone :]
        return gone
    texts = [place for place in places if isinstance(place[3], str) and len(place[3]) > _TEXT_LEFT + _NOTE]
    if texts:
        _, holder, key, text = max(texts, key=lambda place: place[0])
        left = max(_TEXT_LEFT, len(text) - over - _NOTE)
        gone = len(text) - left
        holder[key] = f"{text[: left // 2]}… [{gone} characters left out] …{text[len(text) - left // 2 :]}"
    return 0


def _places(data: Any) -> Iterator[tuple[int, Any, Any, Any]]:  # Any: JSON of any shape
    """Yield every list and text: its size in bytes, what holds it, under which key, and itself."""
    waiting: list[Any] = [data]  # Any: JSON of any shape
    while waiting:
        holder = waiting.pop()
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(value, list | str):
                yield len(dumped(value).encode()), holder, key, value
            if isinstance(value, list | dict):
                waiting.append(value)
