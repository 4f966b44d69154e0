"""Loops that look again and again do so on common ticks: an idle processor is woken once for all of them.

The ticks count from the start of this process, so that the hosts of a fleet do not speak all at once.
"""

import asyncio
import time
from typing import Final

BEGAN_SECONDS: Final = time.monotonic()
"""A tick of every beat, on the monotonic clock, which is also that of the event loop."""
_SOON_SECONDS: Final = 1e-4


def until_beat(seconds: float) -> float:
    """Return how long it is to the next tick of a beat with this period; never 0."""
    wait_seconds = seconds - (asyncio.get_running_loop().time() - BEGAN_SECONDS) % seconds
    return wait_seconds if wait_seconds > _SOON_SECONDS else wait_seconds + seconds


async def sleep_to_beat(seconds: float) -> None:
    """Sleep until the next tick: less than a period the first time, then one period, whatever was done in between."""
    await asyncio.sleep(until_beat(seconds))
