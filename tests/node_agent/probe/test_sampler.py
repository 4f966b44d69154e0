import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from node_agent.probe.sampler import Sampler
from node_agent.probe.samples import HostSample, TelemetryBatch

HOST = HostSample(None, None, None, None, None, None, None, None)


class StepClock:
    """A clock that only sleeping moves, and that ends the test after a number of sleeps."""

    def __init__(self, sleeps: int) -> None:
        self.seconds = 0.0
        self.naps: list[float] = []
        self._sleeps = sleeps

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.seconds += seconds
        if len(self.naps) == self._sleeps:
            raise asyncio.CancelledError


def batches(clock: StepClock, *takes_seconds: float) -> Callable[[], Awaitable[TelemetryBatch]]:
    """Return a source whose samples take these many seconds, the last one for all that follow."""
    taken = 0

    async def take() -> TelemetryBatch:
        nonlocal taken
        started = clock.now()
        clock.seconds += takes_seconds[min(taken, len(takes_seconds) - 1)]
        taken += 1
        return TelemetryBatch(taken, started, 0.0, None, HOST, ())

    return take


async def run(sampler: Sampler) -> None:
    with suppress(asyncio.CancelledError):
        await sampler.run()


async def test_ticks_do_not_drift_with_the_time_that_a_sample_takes() -> None:
    clock = StepClock(sleeps=4)
    received: list[TelemetryBatch] = []

    async def deliver(batch: TelemetryBatch) -> None:
        received.append(batch)

    sampler = Sampler(batches(clock, 0.3), deliver, clock=clock, sleep=clock.sleep)
    await run(sampler)
    assert clock.naps == pytest.approx([0.7] * 4)
    seconds = [(batch.sampled_at - received[0].sampled_at).total_seconds() for batch in received]
    assert seconds == pytest.approx([0, 1, 2, 3])
    assert [batch.sequence for batch in received] == [1, 2, 3, 4]
    assert (sampler.stats.batches, sampler.stats.overruns) == (4, 0)
    assert sampler.stats.longest_duration_seconds == pytest.approx(0.3)


async def test_ticks_keep_step_with_a_given_moment_from_the_second_sample_on() -> None:
    clock = StepClock(sleeps=3)
    clock.seconds = 100.25
    received: list[TelemetryBatch] = []

    async def deliver(batch: TelemetryBatch) -> None:
        received.append(batch)

    source = batches(clock, 0.3)
    await run(Sampler(source, deliver, clock=clock, sleep=clock.sleep, in_step_with=3.75))
    assert clock.naps == pytest.approx([0.2, 0.7, 0.7])
    assert [batch.sampled_at.microsecond for batch in received] == [250_000, 750_000, 750_000]


async def test_a_slow_sample_skips_ticks_and_counts_them_instead_of_catching_up() -> None:
    clock = StepClock(sleeps=3)
    received: list[TelemetryBatch] = []

    async def deliver(batch: TelemetryBatch) -> None:
        received.append(batch)

    sampler = Sampler(batches(clock, 2.5, 0.1), deliver, clock=clock, sleep=clock.sleep)
    await run(sampler)
    assert clock.naps == pytest.approx([0.5, 0.9, 0.9])
    assert (sampler.stats.batches, sampler.stats.overruns) == (3, 2)


async def test_errors_of_sampling_and_of_delivery_are_counted_and_survived() -> None:
    clock = StepClock(sleeps=5)
    good = batches(clock, 0.0)
    calls = 0

    async def take() -> TelemetryBatch:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError("driver gone")
        return await good()

    async def deliver(batch: TelemetryBatch) -> None:
        if batch.sequence == 2:
            raise ConnectionError("broker gone")

    sampler = Sampler(take, deliver, clock=clock, sleep=clock.sleep)
    await run(sampler)
    stats = sampler.stats
    assert (stats.batches, stats.sample_errors, stats.delivery_errors) == (3, 1, 1)


async def test_the_sample_in_the_making_is_timed() -> None:
    clock = StepClock(sleeps=1)
    seen: list[float] = []

    async def take() -> TelemetryBatch:
        clock.seconds += 7
        seen.append(sampler.taking_seconds)
        return TelemetryBatch(1, clock.now(), 0.0, None, HOST, ())

    async def deliver(batch: TelemetryBatch) -> None:
        del batch

    sampler = Sampler(take, deliver, clock=clock, sleep=clock.sleep)
    await run(sampler)
    assert (seen, sampler.taking_seconds) == ([7.0], 0.0)
