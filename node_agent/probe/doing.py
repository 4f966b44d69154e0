"""Which driver call each thread of the probe is in, in memory shared with the daemon: a hung thread cannot be asked."""

import mmap
import os
import struct
from enum import IntEnum
from typing import Final

_SLOT_BYTES: Final = 128
_SLOT: Final = struct.Struct(f"{_SLOT_BYTES}s")  # it cuts what is longer, and fills up with zeros
_CALL_CHARACTERS: Final = 64


class ProbeThread(IntEnum):
    """The threads of a probe that call the driver."""

    READING = 0
    EVENTS = 1


MEMORY_BYTES: Final = _SLOT_BYTES * len(ProbeThread)


def make_memory() -> int:
    """Return a descriptor of fresh memory to be shared with a probe; the caller closes it."""
    descriptor = os.memfd_create("orquanta-probe", os.MFD_CLOEXEC)
    os.truncate(descriptor, MEMORY_BYTES)
    return descriptor


class Doing:
    """Where one thread writes what it is about to do. Not atomic: what is read while it is written may be cut."""

    def __init__(self, memory: mmap.mmap, thread: ProbeThread) -> None:
        self._memory = memory
        self._start = thread * _SLOT_BYTES

    def begin(self, call: str, gpu_uuid: str = "") -> None:
        """Say which call comes next, and about which GPU."""
        text = f"{call[:_CALL_CHARACTERS]} of {gpu_uuid}" if gpu_uuid else call
        _SLOT.pack_into(self._memory, self._start, text.encode())

    def end(self) -> None:
        """Say that no call is being made."""
        self._memory[self._start] = 0


class DoingReader:
    """The daemon's view of the memory."""

    def __init__(self, descriptor: int) -> None:
        """Map the memory; the descriptor may be closed afterwards."""
        self._memory = mmap.mmap(descriptor, MEMORY_BYTES, prot=mmap.PROT_READ)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()

    def __str__(self) -> str:
        """Return such as `nvmlDeviceGetPowerUsage of GPU-8d3b...`, printable; empty between calls."""
        return self.of(ProbeThread.READING)

    def of(self, thread: ProbeThread) -> str:
        """Return what one thread does."""
        start = thread * _SLOT_BYTES
        text = self._memory[start : start + _SLOT_BYTES].partition(b"\0")[0].decode("ascii", errors="replace")
        return "".join(letter if letter.isprintable() else "?" for letter in text)
