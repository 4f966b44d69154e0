"""Faults put into one virtual GPU: calls that fail or hang, and a GPU that is lost as a whole."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import pynvml

_SUCCESS: Final[int] = pynvml.NVML_SUCCESS


@dataclass(slots=True)
class _Failure:
    """A call that fails; `remaining` is None if it does until cleared."""

    status: int
    remaining: int | None


@dataclass(slots=True)
class _Hang:
    """A call that hangs; `remaining` is None if it does until cleared."""

    seconds: float
    remaining: int | None


class Faults:
    """The faults of one GPU, looked at before each NVML call on it. Safe to use from any thread."""

    def __init__(self, symbols: Collection[str]) -> None:
        """Take the C symbols that the virtual library has, to refuse a fault that could never strike."""
        self._symbols = symbols
        self._lock = threading.Lock()
        self._failures: dict[str, _Failure] = {}
        self._hangs: dict[str, _Hang] = {}
        self._released = threading.Event()
        self._device_status = _SUCCESS
        self.on_hang: Callable[[str], None] | None = None
        """Called with the C symbol each time a call begins to hang."""

    def fail(self, symbol: str, status: int, *, times: int | None = None) -> None:
        """Make one C function return `status`, the next `times` calls or, with None, until cleared.

        Raises:
            ValueError: the virtual library has no such C function.
        """
        self._check(symbol)
        with self._lock:
            self._failures[symbol] = _Failure(status, times)

    def hang(self, symbol: str, seconds: float, *, times: int | None = None) -> None:
        """Make one C function block for `seconds`, as a driver in trouble does, or until `release`.

        The next `times` calls hang or, with None, all until cleared.

        Raises:
            ValueError: the virtual library has no such C function.
        """
        self._check(symbol)
        with self._lock:
            self._hangs[symbol] = _Hang(seconds, times)

    def lose(self, status: int = pynvml.NVML_ERROR_GPU_IS_LOST) -> None:
        """Make every call on the GPU return `status`, as when it has fallen off the bus."""
        with self._lock:
            self._device_status = status

    @property
    def lost(self) -> bool:
        """Whether every call on the GPU fails."""
        return self._device_status != _SUCCESS

    def release(self) -> None:
        """Let calls that hang now go on, and end the hangs."""
        with self._lock:
            self._hangs.clear()
            self._released.set()
            self._released = threading.Event()

    def clear(self) -> None:
        """Take all faults away."""
        self.release()
        with self._lock:
            self._failures.clear()
            self._device_status = _SUCCESS

    def intercept(self, symbol: str) -> int:
        """Block if the call hangs, then return the status that it must fail with, or NVML_SUCCESS."""
        if not (self._failures or self._hangs):
            return self._device_status
        with self._lock:
            hang, released = self._hangs.get(symbol), self._released
            if hang is not None and hang.remaining is not None:
                hang.remaining -= 1
                if hang.remaining <= 0:
                    del self._hangs[symbol]
        if hang is not None:
            if self.on_hang is not None:
                self.on_hang(symbol)
            released.wait(hang.seconds)
        with self._lock:
            if self._device_status != _SUCCESS:
                return self._device_status
            return self._take_failure(symbol)

    def _take_failure(self, symbol: str) -> int:
        failure = self._failures.get(symbol)
        if failure is None:
            return _SUCCESS
        if failure.remaining is not None:
            failure.remaining -= 1
            if failure.remaining <= 0:
                del self._failures[symbol]
        return failure.status

    def _check(self, symbol: str) -> None:
        if symbol not in self._symbols:
            raise ValueError(
                f"the virtual NVML has no GPU call {symbol!r}: name a C symbol such as nvmlDeviceGetSerial"
            )
