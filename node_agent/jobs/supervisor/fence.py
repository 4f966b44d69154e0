"""The fence: until when jobs of this host may run without a word from the control plane."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH105, PTH123
from __future__ import annotations

import errno
import os

_TRIES = 3


def read_fence(path: str, boot_id: str) -> float | None:
    """Return the CLOCK_BOOTTIME second after which jobs must not run; None when none is set in this boot."""
    for _ in range(_TRIES):
        try:
            with open(path, encoding="ascii") as file:
                words = file.read().split()
        except (OSError, ValueError):
            return None
        if len(words) == 3 and words[0] == words[2]:  # noqa: PLR2004 - deadline, boot, deadline
            return float(words[0]) if words[1] == boot_id else None
    return None


def write_fence(path: str, boot_id: str, deadline: float) -> None:
    """Set the deadline. A full disk does not keep it from being renewed. Raises OSError.

    The deadline is written twice, so that a reader knows a half-written one.
    """
    text = f"{deadline:018.3f} {boot_id} {deadline:018.3f}\n".encode()
    try:
        _write(path + ".draft", text, os.O_TRUNC)
        os.replace(path + ".draft", path)
    except OSError:
        _write(path, text, 0)  # the same bytes in the same place need no room


def _write(path: str, text: bytes, flags: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    try:
        if os.write(fd, text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)
