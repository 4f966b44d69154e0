"""Cancellation that nats-py cannot lose.

nats-py, and `asyncio.wait_for` beneath it in Python 3.11, can return normally from a call during which the task
was cancelled. A loop around such a call would then go on for ever.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import structlog

log = structlog.get_logger()

_AGAIN_SECONDS: Final = 0.2


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Raise CancelledError at the end of the block if the task was cancelled in it and nothing came of it."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task of ours until it ends; log the error that it ended with, if any."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_SECONDS)
    if not task.cancelled() and (error := task.exception()):
        log.error("task.failed", task=task.get_name(), exc_info=error)
