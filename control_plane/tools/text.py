"""Makes strangers' words safe to show: printable, bounded, without secrets."""

import re
import unicodedata
from typing import Final

from control_plane.model.redaction import redact

TEXT_MAX: Final = 4_000
"""Characters of one text in a result."""

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\-_])")
_NOT_IN_TOKENS: Final = re.compile(r"[^A-Za-z0-9._:/@+-]")
_TOKEN_MAX: Final = 128
# Controls, invisible and direction-changing characters, surrogates, private and unassigned ones: a person would not
# see them, and a model would.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters, marks and signs by their category, and yet nothing is seen of them: fillers, joiners, and the selectors of
# variants, 256 of which can spell any text behind a harmless character.
_UNSEEN: Final = frozenset(
    map(
        chr,
        (
            0x034F,
            0x115F,
            0x1160,
            0x17B4,
            0x17B5,
            *range(0x180B, 0x1810),
            0x2800,
            0x3164,
            0xFFA0,
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)


def clean(text: str, *, most: int = TEXT_MAX, lines: bool = True) -> str:
    """Return `text` without secrets, terminal escapes and invisible characters, cut to `most` characters.

    What cannot be shown becomes U+FFFD. Line breaks and tabs stay unless `lines` is false.
    """
    kept = text[: most * 4 + 1024]  # cleaning takes time for each character, and a secret must not be cut in half
    kept = redact("".join(_shown(character, lines=lines) for character in _ESCAPES.sub("", kept)))
    return kept if len(kept) <= most and len(text) == len(text[: most * 4 + 1024]) else _cut(kept, most)


def token(text: str) -> str:
    """Return a name or code of one word, at most 128 characters: no room for a sentence."""
    return _NOT_IN_TOKENS.sub("_", text[:_TOKEN_MAX])


def _cut(text: str, most: int) -> str:
    return text[: max(most - 1, 0)] + "…"


def _shown(character: str, *, lines: bool) -> str:
    if character.isascii() and character.isprintable():
        return character
    if character in "\n\t":
        return character if lines else " "
    if character == "\r":
        return ""
    unseen = character in _UNSEEN or unicodedata.category(character) in _INVISIBLE
    return "\ufffd" if unseen else character
