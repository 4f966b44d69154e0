"""The loops of a control plane: run together, and ended together."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import structlog

from control_plane.broker import Broker
from control_plane.credentials import Certificates

log = structlog.get_logger()

Loop = Callable[[], Awaitable[None]]

_RENEWAL_CHECK_SECONDS: Final = 3600.0

TURN_SECONDS: Final = 0.001
"""How long a thread may compute while another one waits for its turn.

Each statement gives the turn away. With Python's own 5 ms a write of twenty statements, beside a loop or a reader that
computes, may wait twenty times as long; the slowest tenth of such writes took 7 to 45 ms by that, and 3 to 10 by this.
"""


async def run_loops(stack: AsyncExitStack, loops: list[Loop], stop: asyncio.Event) -> None:
    """Run the loops until the stack closes. One that ends by an error stops the control plane: it cannot be trusted."""

    async def guarded(loop: Loop) -> None:
        try:
            await loop()
        except Exception:
            log.exception("loop.failed")
            stop.set()
            raise

    stack.callback(sys.setswitchinterval, sys.getswitchinterval())
    sys.setswitchinterval(TURN_SECONDS)
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
