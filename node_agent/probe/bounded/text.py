"""Text from outside, made fit to keep and to show."""

from node_agent.probe.observations import MAXIMUM_TEXT


def printable(text: str, limit: int = MAXIMUM_TEXT) -> str:
    """Return `text` on one line, with `?` for what cannot be printed, at most `limit` characters."""
    words = " ".join(text[: 4 * limit].split())
    shown = "".join(character if character.isprintable() else "?" for character in words)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def printable_bytes(data: bytes, limit: int = MAXIMUM_TEXT) -> str:
    """Return bytes that a file or a command gave, as `printable` text."""
    return printable(data[: 4 * limit].decode("utf-8", "replace"), limit)
