"""Has the buffers of thousands of TLS connections lie apart from the heap: some 10 KB less for each of them."""

import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3  # of glibc's malloc.h
_ALONE_BYTES: Final = 8_000
"""Below the 8,232 bytes of gRPC's buffers, which it uses the beginning of."""
_M_MMAP_MAX: Final = -4
_ALONE_MAX: Final = 50_000
"""The kernel gives a process 65,530 areas by itself, and fails everything that asks for one more."""


def keep_buffers_apart() -> bool:
    """Have each of them come from the kernel by itself, untouched; return whether this C library can do that."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _ALONE_BYTES) and mallopt(_M_MMAP_MAX, _ALONE_MAX))
