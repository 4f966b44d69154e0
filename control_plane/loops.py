"""The loops of a control plane: run together, and ended together."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import structlog

from control_plane.broker import Broker
from control_plane.credentials import Certificates

log = structlog.get_logger()

Loop = Callable[[], Awaitable[None]]

_RENEWAL_CHECK_SECONDS: Final = 3600.0


async def run_loops(stack: AsyncExitStack, loops: list[Loop], stop: asyncio.Event) -> None:
    """Run the loops until the stack closes. One that ends by an error stops the control plane: it cannot be trusted."""

    async def guarded(loop: Loop) -> None:
        try:
            await loop()
        except Exception:
            log.exception("loop.failed")
            stop.set()
            raise

    tasks = [asyncio.ensure_future(guarded(loop)) for loop in loops]

    async def end() -> None:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [result for result in results if isinstance(result, Exception)]
        if failed:
            raise failed[0]

    stack.push_async_callback(end)


async def renew_certificates(certificates: Certificates, broker: Broker) -> None:
    """Renew the control plane's own certificates when they near their end, until cancelled."""
    while True:
        await asyncio.sleep(_RENEWAL_CHECK_SECONDS)
        if certificates.renew():
            log.info("certificates.renewed")
            if broker.embedded is not None:
                broker.embedded.reload()
