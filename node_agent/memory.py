"""Keeps the daemon small: what it does not load, and what it gives back that only its start needed.

Two thirds of what a Python process has mapped are pages of shared libraries, and most of them hold code that ran once,
while modules were loaded. The kernel keeps such pages in its cache as long as it likes; the process need not hold on to
them. They are clean copies of files: whichever is needed again is mapped again, without a read from disk as long as it
is in the cache.
"""

import ctypes
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Final, NoReturn

_MADV_DONTNEED: Final = 4
_KIBIBYTE: Final = 1024
_SMAPS: Final = "/proc/self/smaps"
_FILE_WORD: Final = 5
_M_ARENA_MAX: Final = -8
_METADATA: Final = "importlib.metadata"


def start_small() -> None:
    """Prepare the daemon's process; to be called before its libraries are loaded and its threads are started."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc alone has it
        library.mallopt(_M_ARENA_MAX, 1)  # a dozen threads that mostly sleep need no heap each
    # NATS asks for its own version and does without: 1 MB with the zip and mail modules that are loaded for it.
    stub = ModuleType(_METADATA)
    stub.__dict__["version"] = _no_version
    sys.modules.setdefault(_METADATA, stub)


def _no_version(name: str) -> NoReturn:
    raise LookupError(f"the daemon does not look for the version of {name}")


def give_back_code() -> int:
    """Unmap the pages of files that cannot have been written to; return how many bytes were mapped there.

    Pages that differ from their file (relocations, variables) are left alone, as is everything that is writable. The
    allocator's free pages are given back too. Does nothing where the kernel has no /proc/self/smaps.
    """
    library = ctypes.CDLL(None)
    library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    try:
        # Line by line and in two steps, so that no memory is needed to give memory back.
        with open(_SMAPS, encoding="utf-8", errors="replace") as lines:  # noqa: PTH123 - pathlib costs the probe 1 MB
            mappings = tuple(clean_mappings(lines))
    except OSError:
        mappings = ()
    for start, length, _ in mappings:
        library.madvise(start, length, _MADV_DONTNEED)
    if hasattr(library, "malloc_trim"):  # glibc alone has it
        library.malloc_trim(0)
    return sum(resident_bytes for _, _, resident_bytes in mappings)


def clean_mappings(smaps: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    """Yield start, length and resident bytes of each mapping of a file that is read-only and equal to its file."""
    header: list[str] = []
    values: dict[str, int] = {}
    for line in smaps:
        words = line.split()
        if words[0].endswith(":"):
            if words[-1] == "kB":
                values[words[0]] = int(words[1]) * _KIBIBYTE
            continue
        if _is_clean(header, values):
            yield _range(header, values)
        header, values = words, {}
    if _is_clean(header, values):
        yield _range(header, values)


def _is_clean(header: list[str], values: dict[str, int]) -> bool:
    if len(header) <= _FILE_WORD or not header[_FILE_WORD].startswith("/"):
        return False
    writable = "w" in header[1] or "s" in header[1]
    # A value that the kernel does not tell counts as dirty.
    dirty = any(values.get(name, 1) for name in ("Anonymous:", "Private_Dirty:", "Shared_Dirty:"))
    return not writable and not dirty and values.get("Rss:", 0) > 0


def _range(header: list[str], values: dict[str, int]) -> tuple[int, int, int]:
    start, _, end = header[0].partition("-")
    return int(start, 16), int(end, 16) - int(start, 16), values["Rss:"]
