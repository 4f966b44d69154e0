"""Loops that wake together."""

import asyncio
import math

import pytest

from node_agent.beat import BEGAN_SECONDS, sleep_to_beat, until_beat


@pytest.mark.parametrize("seconds", [0.001, 0.02, 1.0, 2.0, 60.0])
async def test_the_next_tick_is_at_most_a_period_away_and_on_the_beat(seconds: float) -> None:
    before = asyncio.get_running_loop().time()
    wait_seconds = until_beat(seconds)
    after = asyncio.get_running_loop().time()
    assert 0 < wait_seconds <= seconds + 1e-4
    first, last = (before + wait_seconds - BEGAN_SECONDS) / seconds, (after + wait_seconds - BEGAN_SECONDS) / seconds
    assert math.floor(last + 1e-3) >= first - 1e-3  # a tick lies between the two


async def test_a_sleeper_wakes_on_the_tick_or_later_never_before() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(5):
        tick = loop.time() + until_beat(0.01)
        await sleep_to_beat(0.01)
        assert loop.time() >= tick - 1e-4
