"""The loop that takes one telemetry sample a second and hands it on."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from node_agent.clock import Clock
from node_agent.probe.samples import TelemetryBatch

_Outcome = TypeVar("_Outcome")

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0
STALL_SECONDS: Final = 10.0
"""A sample that takes longer than this is called a stall: an NVML call hangs in the driver."""
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
    stalls: int = 0
    last_duration_seconds: float = 0.0
    longest_duration_seconds: float = 0.0


class Sampler:
    """Samples on ticks that do not drift, in a thread of its own, so that a hung driver call blocks nothing else."""

    def __init__(
        self,
        take: Callable[[], TelemetryBatch],
        deliver: Callable[[TelemetryBatch], Awaitable[None]],
        *,
        clock: Clock,
        interval_seconds: float = INTERVAL_SECONDS,
        stall_seconds: float = STALL_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Call `take` in the worker thread on each tick and await `deliver` with what it returns.

        `sleep` and `clock` belong together: a test gives both, so that no time passes.
        """
        self._take = take
        self._deliver = deliver
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._stall_seconds = stall_seconds
        self._sleep = sleep
        self._batches = self._overruns = self._sample_errors = self._delivery_errors = self._stalls = 0
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
            stalls=self._stalls,
            last_duration_seconds=self._last_duration_seconds,
            longest_duration_seconds=self._longest_duration_seconds,
        )

    @property
    def taking_seconds(self) -> float:
        """How long the sample in the making has taken so far; 0 between samples. Grows while a call hangs."""
        return 0.0 if self._taking_since is None else self._clock.monotonic() - self._taking_since

    async def run(self) -> None:
        """Sample until cancelled. Errors of sampling and of delivery are counted and logged, and do not end it."""
        worker = _Worker()
        try:
            due = self._clock.monotonic()
            while True:
                batch = await self._take_one(worker)
                if batch is not None:
                    await self._deliver_one(batch)
                due += self._interval_seconds
                now = self._clock.monotonic()
                if now >= due:
                    missed = int((now - due) / self._interval_seconds) + 1
                    self._overruns += missed
                    due += missed * self._interval_seconds
                await self._sleep(due - now)
        finally:
            worker.stop()

    async def _take_one(self, worker: "_Worker") -> TelemetryBatch | None:
        began = self._taking_since = self._clock.monotonic()
        future = worker.submit(self._take)
        try:
            done, _ = await asyncio.wait({future}, timeout=self._stall_seconds)
            if not done:
                self._stalls += 1
                log.warning("telemetry.stalled", seconds=self._stall_seconds)
            return await future
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


class _Worker:
    """One thread that takes samples. It is a daemon thread: a call that hangs for ever must not keep the process."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # At most one request waits, because the loop awaits each answer; the last entry is the order to end.
        self._requests: queue.SimpleQueue[
            tuple[Callable[[], TelemetryBatch], asyncio.Future[TelemetryBatch]] | None
        ] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="telemetry", daemon=True).start()

    def submit(self, take: Callable[[], TelemetryBatch]) -> asyncio.Future[TelemetryBatch]:
        future: asyncio.Future[TelemetryBatch] = self._loop.create_future()
        self._requests.put((take, future))
        return future

    def stop(self) -> None:
        """End the thread after the sample that it is taking; do not wait for it."""
        self._requests.put(None)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            take, future = request
            try:
                batch = take()
            except Exception as error:  # noqa: BLE001 - handed to the loop, which counts it
                self._answer(_fail, future, error)
            else:
                self._answer(_succeed, future, batch)

    def _answer(
        self,
        settle: Callable[[asyncio.Future[TelemetryBatch], _Outcome], None],
        future: asyncio.Future[TelemetryBatch],
        outcome: _Outcome,
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(settle, future, outcome)
        except RuntimeError:  # the loop has been closed meanwhile: nobody waits any more
            return


def _succeed(future: asyncio.Future[TelemetryBatch], batch: TelemetryBatch) -> None:
    if not future.done():
        future.set_result(batch)


def _fail(future: asyncio.Future[TelemetryBatch], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
