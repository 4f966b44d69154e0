"""While the loops run, no thread waits long for its turn."""

import asyncio
import sys
from contextlib import AsyncExitStack

from control_plane.loops import TURN_SECONDS, run_loops


async def test_turns_are_short_while_the_loops_run_and_as_before_afterwards() -> None:
    before, running = sys.getswitchinterval(), list[float]()
    begun = asyncio.Event()

    async def loop() -> None:
        running.append(sys.getswitchinterval())
        begun.set()

    async with AsyncExitStack() as stack:
        await run_loops(stack, [loop], asyncio.Event())
        await begun.wait()
    assert [round(seconds, 6) for seconds in running] == [TURN_SECONDS]
    assert sys.getswitchinterval() == before
