"""Calls one endpoint: attempts with retries, breaker and money. What is asked is decided elsewhere."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import structlog

from control_plane.clock import Clock
from control_plane.reasoning.breaker import Breaker, BreakerState
from control_plane.reasoning.contract import OnDelta, Purpose
from control_plane.reasoning.endpoint import Endpoint
from control_plane.reasoning.errors import NoModel
from control_plane.reasoning.outcomes import AttemptFailed, LeftAlone, RawReply, Refused, Retryable, TooLong
from control_plane.reasoning.spending import Spending, Tally
from control_plane.reasoning.tokens import estimate_body, estimate_tokens
from control_plane.reasoning.transport import Transport
from control_plane.reasoning.wire import StreamedReply

log = structlog.get_logger()

ATTEMPTS_MAX: Final = 3
"""One and two retries."""
CONCURRENT_MAX: Final = 8
"""Calls of one endpoint at a time; others wait."""
_PAUSE_SECONDS: Final = 0.5
_PAUSE_SECONDS_MAX: Final = 8.0
_RETRY_AFTER_SECONDS_MAX: Final = 20.0  # an endpoint that asks for more is passed over
_TIMES_TIMEOUT: Final = 2.0  # the time for one call, after which none is made again
_INTERRUPTED: Final = "\n[the model was interrupted and begins again]\n"

Sleep = Callable[[float], Awaitable[None]]


class EndpointCaller:
    """One endpoint, called within its limits."""

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Callable[[Endpoint], Transport],
        spending: Spending,
        *,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.endpoint = endpoint
        self.calls = 0
        self.failures = 0
        self.last_error = ""
        self.breaker = Breaker(clock)
        self._make = transport
        self._transport: Transport | None = None
        self._spending = spending
        self._clock = clock
        self._sleep = sleep
        self._places = asyncio.Semaphore(CONCURRENT_MAX)

    async def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.close()

    async def call(
        self,
        body: Mapping[str, Any],  # Any: JSON
        purpose: Purpose,
        tally: Tally,
        *,
        output_tokens_max: int,
        on_delta: OnDelta | None = None,
    ) -> RawReply:
        """Ask, and again after failures that may pass. A body with `stream` is streamed, to `on_delta` if any.

        Raises AttemptFailed, ModelBudgetExceeded, NoModel, ModelUnavailable.
        """
        given_up_at = self._clock.monotonic() + _TIMES_TIMEOUT * self.endpoint.timeout_seconds
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await self._attempt(body, purpose, tally, output_tokens_max=output_tokens_max, on_delta=on_delta)
            except Retryable as error:
                pause = _pause(attempt, error.retry_after_seconds)
                too_late = self._clock.monotonic() + pause >= given_up_at
                if attempt == ATTEMPTS_MAX or pause > _RETRY_AFTER_SECONDS_MAX or too_late:
                    raise
                if not self.breaker.lets_through:
                    raise
                log.info("model.retried", endpoint=self.endpoint.name, attempt=attempt, error=str(error))
                await self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(
        self,
        body: Mapping[str, Any],  # Any: JSON
        purpose: Purpose,
        tally: Tally,
        *,
        output_tokens_max: int,
        on_delta: OnDelta | None,
    ) -> RawReply:
        input_estimate = estimate_body(body)
        worst = self.endpoint.cost_usd(input_estimate, output_tokens_max)
        async with self._places:
            if not self.breaker.enter():
                raise LeftAlone(f"it is left alone after failures ({self.last_error})")
            used = (input_estimate, output_tokens_max)  # unless it turns out otherwise
            try:
                tally.require(worst)
                reservation = await self._spending.reserve(purpose, self.endpoint, worst)
            except BaseException:
                self.breaker.left()
                raise
            self.calls += 1
            try:
                raw = await self._once(body, on_delta)
            except AttemptFailed as error:
                used = used if error.may_cost else (0, 0)
                self._failed(error)
                raise
            except NoModel:
                used = (0, 0)
                self.breaker.left()
                raise
            except BaseException:
                self.breaker.left()
                raise
            else:
                used = self._used(raw, input_estimate)
                self.breaker.succeeded()
                self.last_error = ""
                return raw
            finally:
                # Also when the caller has gone: the call may have been made. The store's writes survive a cancellation.
                cost = self.endpoint.cost_usd(*used)
                tally.add(*used, cost)
                await self._spending.settle(reservation, input_tokens=used[0], output_tokens=used[1], cost_usd=cost)

    async def _once(self, body: Mapping[str, Any], on_delta: OnDelta | None) -> RawReply:  # Any: JSON
        if self._transport is None:
            self._transport = self._make(self.endpoint)
        if not body.get("stream"):
            return await self._transport.ask(body)
        into = StreamedReply()
        try:
            async with aclosing(self._transport.stream(body, into)) as pieces:
                async for piece in pieces:
                    if on_delta is not None:
                        await on_delta(piece)
        except Retryable:
            if into.text and on_delta is not None:
                await on_delta(_INTERRUPTED)
            raise
        return into.reply()

    def _used(self, raw: RawReply, input_estimate: int) -> tuple[int, int]:
        """Return tokens as told, never more than the context can hold; as estimated where nothing was told."""
        written = raw.text + "".join(call.name + call.arguments_json for call in raw.calls)
        most = self.endpoint.context_tokens
        return (
            min(raw.input_tokens or input_estimate, most),
            min(raw.output_tokens or max(1, estimate_tokens(written)), most),
        )

    def _failed(self, error: AttemptFailed) -> None:
        self.failures += 1
        self.last_error = str(error)
        if isinstance(error, Retryable) or (isinstance(error, Refused) and error.lasting):
            self.breaker.failed()
            if self.breaker.state is BreakerState.OPEN:
                log.warning("model.left_alone", endpoint=self.endpoint.name, error=self.last_error)
        elif isinstance(error, TooLong):
            self.breaker.left()
        else:
            self.breaker.succeeded()  # it answers, only not this


def _pause(attempt: int, retry_after_seconds: float | None) -> float:
    """Return how long to wait, between half and the whole of a span that doubles, or what the endpoint asked for."""
    if retry_after_seconds is not None:
        return retry_after_seconds
    span = min(_PAUSE_SECONDS * math.pow(2, attempt - 1), _PAUSE_SECONDS_MAX)
    return span * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
