"""The shadow of a goal: folded text in which what was recognised stands as one mark each.

A recogniser replaces the words of a value ("eight", "$1.5k", "A100-80GB") by one private-use
character, and keeps the value beside it. Grammar rules are then regular expressions over plain
words and marks, and every match leads back to the characters the person wrote.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from control_plane.agents.orchestrator.planner.text import Span, fold

MARKS_PER_KIND = 8192
_FIRST_MARK = 0xF0000


class Kind(IntEnum):
    """What a mark stands for; the order fixes its range of characters."""

    CODE = 0
    QUOTE = 1
    NAME = 2
    IMAGE = 3
    GPU = 4
    PROVIDER = 5
    REGION = 6
    NUMBER = 7
    MEMORY = 8
    MONEY = 9
    DURATION = 10
    DATE = 11
    CLOCK = 12
    ZONE = 13
    MOMENT = 14


def mark(*kinds: Kind) -> str:
    """Return a regular expression for one mark of any of these kinds."""
    return "[" + "".join(_range(kind) for kind in kinds) + "]"


def _range(kind: Kind) -> str:
    first = _FIRST_MARK + kind * MARKS_PER_KIND
    return f"{chr(first)}-{chr(first + MARKS_PER_KIND - 1)}"


def any_mark() -> str:
    """Return a regular expression for one mark of any kind."""
    return mark(*Kind)


def kind_of(char: str) -> Kind | None:
    """Return what kind of mark a character of a shadow is, or None for plain text."""
    code = ord(char) - _FIRST_MARK
    return Kind(code // MARKS_PER_KIND) if 0 <= code < MARKS_PER_KIND * len(Kind) else None


Replacement = tuple[int, int, object]


@dataclass(slots=True)
class Shadow:
    """Folded text with marks. `values` maps each mark to its value and is shared by all cuts."""

    original: str
    text: str
    spans: list[Span]
    # Values are of one type a kind; the accessors of each recogniser state which.
    values: dict[str, Any] = field(default_factory=dict)
    counts: dict[Kind, int] = field(default_factory=dict)

    @classmethod
    def of(cls, original: str) -> "Shadow":
        """Fold a text. Raises `InvalidArgument` when nobody can have written it."""
        text, spans = fold(original)
        return cls(original, text, spans)

    def span(self, start: int, end: int) -> Span:
        """Return where shadow characters [start, end) stand in the original, blanks trimmed."""
        while start < end - 1 and self.text[start] in " \n":
            start += 1
        while end > start + 1 and self.text[end - 1] in " \n":
            end -= 1
        return self.spans[start][0], self.spans[end - 1][1]

    def words(self, start: int, end: int) -> str:
        """Return the original words behind shadow characters [start, end)."""
        first, last = self.span(start, end)
        return self.original[first:last]

    def cut(self, start: int, end: int) -> "Shadow":
        """Return the part [start, end) as a shadow of its own."""
        return Shadow(self.original, self.text[start:end], self.spans[start:end], self.values, self.counts)

    def marks(self, kind: Kind) -> Iterator[tuple[int, Any]]:
        """Yield the index and value of each mark of one kind, in order."""
        for index, char in enumerate(self.text):
            if kind_of(char) is kind:
                yield index, self.values[char]

    def replace_all(
        self, pattern: re.Pattern[str], kind: Kind, build: Callable[[re.Match[str]], object | None]
    ) -> None:
        """Replace each match for which `build` returns a value; None leaves the words alone."""
        found: list[Replacement] = []
        for match in pattern.finditer(self.text):
            value = build(match) if match.end() > match.start() else None
            if value is not None:
                found.append((match.start(), match.end(), value))
        self.replace(found, kind)

    def drop(self, pattern: re.Pattern[str]) -> None:
        """Delete what matches, for characters that mean nothing to the grammar."""
        dropped = {index for match in pattern.finditer(self.text) for index in range(match.start(), match.end())}
        self.spans = [span for index, span in enumerate(self.spans) if index not in dropped]
        self.text = "".join(char for index, char in enumerate(self.text) if index not in dropped)

    def replace(self, found: Iterable[Replacement], kind: Kind) -> None:
        """Replace ranges, in order and without overlap, by marks of one kind.

        At most `MARKS_PER_KIND` of a kind are made; what comes after stays plain text.
        """
        parts: list[str] = []
        spans: list[Span] = []
        at = 0
        for start, end, value in found:
            number = self.counts.get(kind, 0)
            if start < at or number >= MARKS_PER_KIND:
                continue
            self.counts[kind] = number + 1
            char = chr(_FIRST_MARK + kind * MARKS_PER_KIND + number)
            self.values[char] = value
            parts += [self.text[at:start], char]
            spans += self.spans[at:start]
            spans.append(self.span(start, end))
            at = end
        parts.append(self.text[at:])
        spans += self.spans[at:]
        self.text = "".join(parts)
        self.spans = spans


def words(*groups: str) -> str:
    """Return a non-capturing alternation in which Latin words match whole and others anywhere.

    Each group is a `|`-separated list of words or small regular expressions over folded text.
    """
    every = [word for group in groups for word in _alternatives(group) if word]
    every.sort(key=len, reverse=True)
    latin = [word for word in every if word.isascii()]
    other = [word for word in every if not word.isascii()]
    whole = rf"(?<![a-z0-9])(?:{'|'.join(latin)})(?![a-z0-9])" if latin else ""
    return f"(?:{'|'.join(part for part in (whole, *other) if part)})"


def _alternatives(group: str) -> list[str]:
    """Split at each `|` that is not inside brackets."""
    found = [""]
    depth, in_class, escaped = 0, False, False
    for char in group:
        if not escaped:
            if in_class:
                in_class = char != "]"
            else:
                in_class = char == "["
                depth += (char == "(") - (char == ")")
        if char == "|" and depth == 0 and not in_class and not escaped:
            found.append("")
        else:
            found[-1] += char
        escaped = char == "\\" and not escaped
    return found
