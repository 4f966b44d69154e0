"""The words of a CEL expression, for the checks that are made before it is ever evaluated."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What a token is."""

    NAME = "name"
    STRING = "string"
    NUMBER = "number"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the offset of its first character."""

    kind: Kind
    text: str
    offset: int


_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
    |(?P<string>
        [rR]"[^"\n]*" | [rR]'[^'\n]*'
        | "(?!"")(?:\\.|[^"\\\n])*" | '(?!'')(?:\\.|[^'\\\n])*'
    )
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>&&|\|\||[<>=!]=|[-+*/%<>!?:.,(){}\[\]])
    """,
    re.VERBOSE,
)


class Unreadable(ValueError):
    """The text is not made of tokens that rules may use."""


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens. Raises Unreadable."""
    offset = 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        if match is None or match.lastgroup is None:
            raise Unreadable(f"cannot read {text[offset : offset + 20]!a}")
        if match.lastgroup != "space":
            yield Token(Kind(match.lastgroup), match[0], offset)
        offset = match.end()
