"""Tells systemd that the daemon lives, as long as its loop turns."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

_BEATS = 3  # within the time that systemd allows


async def run_watchdog(allowed_seconds: float, notify: Callable[[str], None]) -> NoReturn:
    """Beat until cancelled; never if systemd does not ask for it."""
    while True:
        if allowed_seconds <= 0:
            await asyncio.Event().wait()
        notify("WATCHDOG=1")
        await asyncio.sleep(allowed_seconds / _BEATS)
