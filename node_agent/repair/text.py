"""Text from tools and processes, made fit for records: printable and of bounded length."""

from typing import Final

MAXIMUM_DETAIL: Final = 2_000
"""Characters of a step's or a check's detail."""
MAXIMUM_MESSAGE: Final = 500
"""Characters of a record's message."""


def printable(text: str | bytes, limit: int = MAXIMUM_DETAIL) -> str:
    """Return text with line ends as spaces and control characters as `?`, at most `limit` characters."""
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode(errors="replace")
    words = " ".join(text[: 4 * limit].split())
    safe = "".join(character if character.isprintable() else "?" for character in words)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def listed(names: "list[str] | tuple[str, ...]", limit: int = 8) -> str:
    """Return names with commas, at most `limit` of them."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
