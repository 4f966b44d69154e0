"""The slot between a stream and what obeys it."""

import asyncio

import pytest

from node_agent.link.newest import Newest


async def test_what_is_cleared_before_its_taker_runs_is_not_taken() -> None:
    slot: Newest[int] = Newest()
    taker = asyncio.ensure_future(slot.take())
    await asyncio.sleep(0)
    slot.put(1)
    slot.clear()
    await asyncio.sleep(0)
    slot.put(2)
    async with asyncio.timeout(30):
        assert await taker == 2


async def test_only_the_newest_is_taken_and_only_once() -> None:
    slot: Newest[int] = Newest()
    slot.put(1)
    slot.put(2)
    assert await slot.take() == 2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await slot.take()
