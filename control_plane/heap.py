"""Keeps the garbage collector's pauses short, however many hosts are linked.

Ten thousand links are a million objects that stay. Each time that the collector looks through everything, nobody gets a
turn for as long as that takes: half a second and more, in which no host hears that its event is in the books. So what
has come to stay is collected once, while it is little, and then left alone. What becomes garbage later and refers to
itself in a circle is found by a sweep through everything, once an hour; all else is freed at once, as always.

While many hosts fail at once, short pauses are worth less than the tenth of the processor that they cost: what a node's
repair leaves behind would be looked through three times before it is left alone. Then it is once, much at a time.
"""

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import Callable
from typing import Final

import structlog

from control_plane.clock import Clock

log = structlog.get_logger()

_YOUNG: Final = 2_000
"""Objects made, less those freed, between two looks at the youngest: less than a millisecond each."""

_YOUNG_SECONDS: Final = 0.05
_YOUNG_LOOKS: Final = 4
"""So often the youngest are looked at as well, and each time after so many those that have survived one look.

The collector counts what was made less what was freed. Each heartbeat makes some objects that wait for the next, and
frees as many of the last: that is nothing to it, and with four thousand links a look at the youngest took 43 ms.
"""

_MIDDLE: Final = 2
_NEVER: Final = 1_000_000_000

SETTLED_MAX: Final = 6_000
"""Objects that have survived, beyond which they are looked through and left alone: 10 to 25 ms, 2 µs for each."""

STORM_YOUNG: Final = 200_000
"""In place of `_YOUNG` while many hosts fail at once: more than what a thousand leave behind. Up to 150 ms
each, and some megabytes of garbage meanwhile."""
_CALM_LOOK_SECONDS: Final = 0.2
_CALM_LOOKS_MAX: Final = 300
"""After a minute, however many still fail, everything is as always for at least one look."""

_SWEEP_SECONDS: Final = 3600.0
_SWEEP_WORTH: Final = 200_000
"""No sweep where fewer objects were left alone since the last one."""

_M_MMAP_THRESHOLD: Final = -3  # of glibc's malloc.h
_ALONE_BYTES: Final = 8_000
"""Below the 8,232 bytes of gRPC's buffers."""
_M_MMAP_MAX: Final = -4
_ALONE_MAX: Final = 80_000
"""Blocks that lie apart at once; the rest is taken from the heap. A link has seven. The kernel gives a process 65,530
areas (vm.max_map_count) and fails whatever asks for one more, but blocks side by side are one area: those of eight
thousand links are a thousand, and if half of so many end, anywhere, they are half as many as are left."""


def keep_large_blocks_apart() -> bool:
    """Have each large block come from the kernel by itself, untouched; return whether this C library can do that.

    TLS gives each connection two buffers of 17 KB, of which a link uses the beginning, and gRPC three of 8 KB, which it
    replaces by fresh ones when they are used up. From the common heap they would come full of what was there before and
    stay in memory to their ends, and leave holes: 80 KB for each link after some hundred messages instead of 63.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _ALONE_BYTES) and mallopt(_M_MMAP_MAX, _ALONE_MAX))


class Heap:
    """Decides when the collector looks at what. `run` it once everything is started.

    `urgent` tells whether many hosts are failing; it is called in any thread and must not block or raise.
    """

    def __init__(self, clock: Clock, *, urgent: Callable[[], bool] = lambda: False) -> None:
        self._clock = clock
        self._urgent = urgent
        self._storm = False
        self._before = gc.get_threshold()
        self._left_alone = 0
        self._looks = 0
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Look whenever something has settled, until cancelled; then the collector is on its own again."""
        loop = asyncio.get_running_loop()

        def notice(phase: str, info: dict[str, int]) -> None:  # in whichever thread the collector was at work
            if phase != "stop":
                return
            if self._storm:
                gc.freeze()  # all there is was looked through just now
                self._left_alone += STORM_YOUNG
            elif info["generation"] == 1 or self._urgent():
                loop.call_soon_threadsafe(self._settled.set)

        keep_large_blocks_apart()
        gc.callbacks.append(notice)
        gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
        sweep_at = self._clock.monotonic() + _SWEEP_SECONDS
        try:
            while True:
                if not await self._wait():
                    self._look_at_young()
                    continue
                self._settled.clear()
                if self._urgent():
                    await self._sit_out()
                self.look()
                if self._clock.monotonic() >= sweep_at:
                    sweep_at = self._clock.monotonic() + _SWEEP_SECONDS
                    if self._left_alone >= _SWEEP_WORTH:
                        self.sweep()
        finally:
            gc.set_threshold(*self._before)
            gc.callbacks.remove(notice)

    async def _wait(self) -> bool:
        """Wait until something has settled, but not for long; return whether it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_YOUNG_SECONDS):
                await self._settled.wait()
        return self._settled.is_set()

    def _look_at_young(self) -> None:
        self._looks += 1
        gc.collect(0 if self._looks % _YOUNG_LOOKS else 1)

    async def _sit_out(self) -> None:
        """Look once at what comes to be while many hosts fail, and leave it alone."""
        self._storm = True
        gc.set_threshold(STORM_YOUNG, _MIDDLE, _NEVER)
        try:
            for _ in range(_CALM_LOOKS_MAX):
                await asyncio.sleep(_CALM_LOOK_SECONDS)
                if not self._urgent():
                    break
        finally:
            self._storm = False
            gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
        self._leave_alone(gc.get_count()[0])

    def look(self) -> int:
        """Leave alone what has settled, if it is much; return about how many objects."""
        settled = _survivors()
        return 0 if settled <= SETTLED_MAX else self._leave_alone(settled)

    def _leave_alone(self, settled: int) -> int:
        freed = gc.collect()
        left = max(0, settled - freed)  # about; to count all that is left alone takes longer than all the rest
        gc.freeze()
        self._left_alone += left
        return left

    def sweep(self) -> int:
        """Look through everything, as long as that takes; return how many objects were freed."""
        began = self._clock.monotonic()
        gc.unfreeze()
        freed = gc.collect()
        gc.freeze()
        self._left_alone = 0
        log.info(
            "heap.swept", freed=freed, seconds=round(self._clock.monotonic() - began, 3), objects=gc.get_freeze_count()
        )
        return freed


def _survivors() -> int:
    """Return how many objects have survived two looks and are not left alone.

    They are listed and counted in one call into C, without a moment in which another thread could have its turn: as
    long as such a list refers to a tuple that is being made there, CPython cannot make it longer (SystemError).
    """
    return next(map(len, map(gc.get_objects, (2,))))
