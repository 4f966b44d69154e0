"""How C functions are written in Python: handlers fill ctypes arguments and return an NVML status.

pynvml passes plain ints, ctypes values, string buffers and `byref` objects, just as it does to the C library.
"""

from collections.abc import Callable
from typing import Any, Final

import pynvml

Handler = Callable[..., int]
"""Takes the host, the GPU or the MIG instance first and then the C arguments as pynvml passed them."""

SUCCESS: Final[int] = pynvml.NVML_SUCCESS
INVALID_ARGUMENT: Final[int] = pynvml.NVML_ERROR_INVALID_ARGUMENT
NOT_SUPPORTED: Final[int] = pynvml.NVML_ERROR_NOT_SUPPORTED
NOT_FOUND: Final[int] = pynvml.NVML_ERROR_NOT_FOUND
INSUFFICIENT_SIZE: Final[int] = pynvml.NVML_ERROR_INSUFFICIENT_SIZE


class CallTable(dict[str, Handler]):
    """C symbols and the handlers behind them."""

    def named(self, *symbols: str) -> Callable[[Handler], Handler]:
        """Register a handler under these C symbols."""

        def register(handler: Handler) -> Handler:
            for symbol in symbols:
                self[symbol] = handler
            return handler

        return register


# The ctypes arguments have no useful static type: pynvml ships none, and `byref` objects are opaque.


def value_of(argument: Any) -> int:
    """Return a scalar argument, whether pynvml wrapped it in ctypes or not."""
    return int(getattr(argument, "value", argument))


def target_of(reference: Any) -> Any:
    """Return the object that a `byref` argument points to."""
    return reference._obj  # noqa: SLF001 - ctypes has no other way to follow byref


def put(reference: Any, value: float) -> int:
    """Store a number through a pointer."""
    target_of(reference).value = value
    return SUCCESS


def put_text(buffer: Any, length: Any, text: str) -> int:
    """Store a string with its terminating zero in a buffer of `length` bytes."""
    data = text.encode()
    if value_of(length) <= len(data):
        return INSUFFICIENT_SIZE
    buffer.value = data
    return SUCCESS
