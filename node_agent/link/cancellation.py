"""Cancellation that nats-py cannot lose.

nats-py, and `asyncio.wait_for` beneath it in Python 3.11, can return from a call during which the task was cancelled as
if nothing had happened. A loop around such a call would then go on for ever.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_AGAIN_SECONDS: Final = 0.2


@contextmanager
def heeded() -> Iterator[None]:
    """Raise CancelledError at the end of the block, however it ends, if the task was cancelled meanwhile."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except Exception:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from None
        raise
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they have ended, however often they lose that."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_AGAIN_SECONDS)
