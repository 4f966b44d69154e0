"""The loop that takes one telemetry sample a second and hands it on."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog

from node_agent.clock import Clock
from node_agent.probe.samples import TelemetryBatch

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0
_LOG_EVERY: Final = 60
"""Of repeated errors, the first and every 60th are logged."""


@dataclass(frozen=True, slots=True)
class SamplerStats:
    """Counts since the sampler was made."""

    batches: int = 0
    """Samples taken and handed on."""
    overruns: int = 0
    """Ticks skipped because the sample before was still being taken or handed on."""
    sample_errors: int = 0
    delivery_errors: int = 0
    last_duration_seconds: float = 0.0
    longest_duration_seconds: float = 0.0


class Sampler:
    """Samples on ticks that do not drift."""

    def __init__(
        self,
        take: Callable[[], Awaitable[TelemetryBatch]],
        deliver: Callable[[TelemetryBatch], Awaitable[None]],
        *,
        clock: Clock,
        interval_seconds: float = INTERVAL_SECONDS,
        in_step_with: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Await `take`, which has a deadline of its own, on each tick, and then `deliver` with what it returns.

        The first sample is taken at once. Ticks are whole intervals away from the moment `in_step_with` on the
        monotonic clock, or from the first sample. `sleep` and `clock` belong together: a test gives both, so that no
        time passes.
        """
        self._take = take
        self._deliver = deliver
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._in_step_with = in_step_with
        self._sleep = sleep
        self._batches = self._overruns = self._sample_errors = self._delivery_errors = 0
        self._last_duration_seconds = self._longest_duration_seconds = 0.0
        self._taking_since: float | None = None

    @property
    def stats(self) -> SamplerStats:
        """What has happened so far."""
        return SamplerStats(
            batches=self._batches,
            overruns=self._overruns,
            sample_errors=self._sample_errors,
            delivery_errors=self._delivery_errors,
            last_duration_seconds=self._last_duration_seconds,
            longest_duration_seconds=self._longest_duration_seconds,
        )

    @property
    def taking_seconds(self) -> float:
        """How long the sample in the making has taken so far; 0 between samples. Grows while a call hangs."""
        return 0.0 if self._taking_since is None else self._clock.monotonic() - self._taking_since

    async def run(self) -> NoReturn:
        """Sample until cancelled. Errors of sampling and of delivery are counted and logged, and do not end it."""
        due = self._clock.monotonic()
        if self._in_step_with is not None:
            due -= (due - self._in_step_with) % self._interval_seconds
        while True:
            batch = await self._take_one()
            if batch is not None:
                await self._deliver_one(batch)
            due += self._interval_seconds
            now = self._clock.monotonic()
            if now >= due:
                missed = int((now - due) / self._interval_seconds) + 1
                self._overruns += missed
                due += missed * self._interval_seconds
            await self._sleep(due - now)

    async def _take_one(self) -> TelemetryBatch | None:
        began = self._taking_since = self._clock.monotonic()
        try:
            return await self._take()
        except Exception as error:  # noqa: BLE001 - whatever a driver does, the next tick must still come
            self._sample_errors += 1
            if self._sample_errors % _LOG_EVERY == 1:
                log.error("telemetry.sample_failed", error=repr(error), count=self._sample_errors)  # noqa: TRY400 - a trace each second helps nobody
            return None
        finally:
            self._taking_since = None
            self._last_duration_seconds = self._clock.monotonic() - began
            self._longest_duration_seconds = max(self._longest_duration_seconds, self._last_duration_seconds)

    async def _deliver_one(self, batch: TelemetryBatch) -> None:
        try:
            await self._deliver(batch)
        except Exception as error:  # noqa: BLE001 - telemetry may be lost, the loop may not
            self._delivery_errors += 1
            if self._delivery_errors % _LOG_EVERY == 1:
                log.warning("telemetry.delivery_failed", error=repr(error), count=self._delivery_errors)
            return
        self._batches += 1
