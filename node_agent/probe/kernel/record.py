r"""Records of /dev/kmsg: `priority,sequence,microseconds,flags;text`, then lines of a dictionary.

The kernel writes bytes that are not printable as `\xNN`, and so the line breaks inside one message. The number in
front is 8 times the facility plus the priority. Facility 0 is the kernel's own: what a program writes into /dev/kmsg
gets 1 (user), or another one that it asks for, but never 0.
Source: Documentation/ABI/testing/dev-kmsg and devkmsg_write in kernel/printk/printk.c of the Linux kernel.
"""

import re
from typing import Final, NamedTuple

MAXIMUM_TEXT: Final = 2_000
"""Characters of a line that are kept."""
MAXIMUM_LINES: Final = 16
"""Lines of one message that are kept."""
_MAXIMUM_HEADER: Final = 200
_HEADER_FIELDS: Final = 3
_MAXIMUM_DIGITS: Final = 20
_LEVEL: Final = 0b111
_FACILITY_SHIFT: Final = 3
_MICROSECOND: Final = 1e-6
_ESCAPE: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")
_PREFIX: Final = re.compile(r"(?:<\d{1,3}>)?\s*(?:kernel:\s*)?(?:\[[\sTC\d.]{1,24}\]\s*){0,3}")


class Record(NamedTuple):
    """A record as it was read."""

    sequence: int
    priority: int
    monotonic_seconds: float
    message: bytes
    of_kernel: bool = True
    """Whether the kernel itself printed it, and no program."""


def parse_record(raw: bytes) -> Record | None:
    """Return the parts of one record without its dictionary, or None if `raw` is no record."""
    end = raw.find(b";", 0, _MAXIMUM_HEADER)
    if end < 0:
        return None
    fields = raw[:end].split(b",")
    if len(fields) < _HEADER_FIELDS:
        return None
    priority, sequence, microseconds = fields[:_HEADER_FIELDS]
    if not (priority.isdigit() and sequence.isdigit() and microseconds.isdigit()) or end > 3 * _MAXIMUM_DIGITS:
        return None
    message_end = raw.find(b"\n", end)
    message = raw[end + 1 :] if message_end < 0 else raw[end + 1 : message_end]
    number = int(priority)
    return Record(
        int(sequence), number & _LEVEL, int(microseconds) * _MICROSECOND, message, number >> _FACILITY_SHIFT == 0
    )


def message_lines(message: bytes) -> list[str]:
    """Return the lines of a message, decoded, printable and cut."""
    if b"\\x" in message:
        message = _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), message)
    text = message.decode("utf-8", "replace")
    if text.isprintable():
        return [text[:MAXIMUM_TEXT]]
    return [printable(line) for line in text.split("\n", MAXIMUM_LINES)[:MAXIMUM_LINES]]


def printable(text: str) -> str:
    """Return a text cut and with spaces for all that cannot be printed."""
    text = text[:MAXIMUM_TEXT]
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def without_prefix(text: str) -> str:
    """Return a line without the marks of time and priority that some writers put before it."""
    match = _PREFIX.match(text)
    return text[match.end() :] if match else text
