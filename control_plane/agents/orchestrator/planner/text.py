"""Folding: a goal's text made plain enough to match, with a way back to the very characters.

Folded text is lower case, without accents, with one kind of quote, dash and blank, so that the
grammar can be written once. Each folded character keeps the span of the original it came from.
"""

import unicodedata

from control_plane.errors import InvalidArgument

MAX_GOAL_CHARS = 20_000

_PRIVATE_USE_START = 0xE000
_PRIVATE_USE_END = 0xF8FF
_FIRST_PRIVATE_PLANE = 0xF0000
_COMBINING_START = 0x300
_COMBINING_END = 0x36F

_WHITESPACE_CONTROLS = frozenset("\t\n\r\v\f\x85")
_LINE_BREAKS = frozenset("\n\r\v\f\x85\u2028\u2029")
_DROPPED = frozenset("\u200b\u200c\u200d\u2060\ufeff\ufe0f\u00ad")
_FOLDS = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f\uff02", '"'),
    **dict.fromkeys("\u00d7\u2715\u2716\u2a2f\u2a09", "x"),
    **dict.fromkeys("\u2264\u2a7d\u2266", "<="),
    **dict.fromkeys("\u2265\u2a7e\u2267", ">="),
    **dict.fromkeys("\u2192\u27a1\u21d2\u2794\u279c\u279e", "->"),
    "\u3002": ". ",
    "\uff0e": ".",
    **dict.fromkeys("\u3001\uff0c\u060c", ", "),
    "\uff01": "! ",
    "\uff1f": "? ",
    "\uff1b": "; ",
    **dict.fromkeys("\u00b7\u2022\u25cf\u25aa\u2023\u2043", "\u2022"),
    "\u00bd": "\u00bd",
    "\u00bc": "\u00bc",
    "\u00be": "\u00be",
    "\uffe5": "\u00a5",
    "\u2026": "...",
    "\u2103": "c",
    "\u0153": "oe",
    "\u0152": "oe",
    "\u00e6": "ae",
}

Span = tuple[int, int]


def check(text: str) -> None:
    """Raise `InvalidArgument` unless the text is something a person can have written."""
    if len(text) > MAX_GOAL_CHARS:
        raise InvalidArgument(
            f"A goal may have at most {MAX_GOAL_CHARS} characters and this one has {len(text)}. "
            "Say what is wanted in a few sentences and put data into files.",
            reason="TEXT_TOO_LONG",
        )
    for index, char in enumerate(text):
        category = unicodedata.category(char)
        if category == "Cs" or (category == "Cc" and char not in _WHITESPACE_CONTROLS):
            raise InvalidArgument(
                f"The text holds the control character U+{ord(char):04X} at offset {index}. Send plain text.",
                reason="TEXT_NOT_PLAIN",
            )


def fold(text: str) -> tuple[str, list[Span]]:
    """Return the folded text and, for each of its characters, the span of the original.

    Runs of blanks become one blank, or one line break if they hold one. Raises `InvalidArgument`
    when the text is too long, not plain, or blank.
    """
    check(text)
    chars: list[str] = []
    spans: list[Span] = []
    for index, char in enumerate(text):
        for folded in _fold_char(char):
            if folded in " \n" and chars and chars[-1] in " \n":
                chars[-1] = "\n" if "\n" in (folded, chars[-1]) else " "
                spans[-1] = (spans[-1][0], index + 1)
            else:
                chars.append(folded)
                spans.append((index, index + 1))
    if not "".join(chars).strip():
        raise InvalidArgument(
            "The text is empty. Say what should be done, for example: "
            "fine-tune llama-3-8b on 2 H100, at most $40, by Friday.",
            reason="TEXT_EMPTY",
        )
    return "".join(chars), spans


def _fold_char(char: str) -> str:
    if char in _LINE_BREAKS:
        return "\n"
    if char in _DROPPED or _COMBINING_START <= ord(char) <= _COMBINING_END:
        return ""
    known = _FOLDS.get(char)
    if known is not None:
        return known
    if _is_private(char) or unicodedata.category(char) in {"Zs", "Cc"}:
        return " "
    plain = unicodedata.normalize("NFKC", char).casefold()
    return "".join(_without_accent(part) for part in plain if not _is_private(part))


def _without_accent(char: str) -> str:
    base = unicodedata.normalize("NFD", char)
    if base[0].isalpha() and base[0].isascii():
        return base[0]
    return _FOLDS.get(char, char)


def _is_private(char: str) -> bool:
    return _PRIVATE_USE_START <= ord(char) <= _PRIVATE_USE_END or ord(char) >= _FIRST_PRIVATE_PLANE
