"""The Reasoner that asks real endpoints: in order of preference, down the ladder of what each can do."""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.reasoning import guard
from control_plane.reasoning.asking import Question, Reading, ReplyFault
from control_plane.reasoning.breaker import BreakerState
from control_plane.reasoning.caller import EndpointCaller, Sleep
from control_plane.reasoning.contract import (
    EndpointStatus,
    ModelReply,
    ModelRequest,
    OnDelta,
)
from control_plane.reasoning.endpoint import Endpoint, Features
from control_plane.reasoning.errors import (
    ModelBudgetExceeded,
    ModelReplyInvalid,
    ModelUnavailable,
    NoModel,
    ReasoningError,
)
from control_plane.reasoning.outcomes import AttemptFailed, RawReply, Refused, TooLong, Unsupported
from control_plane.reasoning.probing import Prober, lower
from control_plane.reasoning.spending import Spending, Tally
from control_plane.reasoning.tokens import estimate_body
from control_plane.reasoning.transport import Transport
from control_plane.store.database import Store

log = structlog.get_logger()

_ROUNDS_MAX: Final = 8  # rungs of the ladder and a repair
_OUTPUT_TOKENS_MIN: Final = 64  # a context that leaves less is too small


class _Asked:
    """One endpoint with all that belongs to it."""

    def __init__(self, caller: EndpointCaller, prober: Prober) -> None:
        self.caller = caller
        self.prober = prober
        self.endpoint = caller.endpoint


class Engine:
    """Asks endpoints. `close` it in the end. Without endpoints it refuses every question with NoModel."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        store: Store,
        *,
        clock: Clock,
        cost_per_day_usd: Decimal,
        transport: Callable[[Endpoint], Transport],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._spending = Spending(store, cost_per_day_usd=cost_per_day_usd)
        callers = [EndpointCaller(one, transport, self._spending, clock=clock, sleep=sleep) for one in endpoints]
        self._asked = tuple(_Asked(caller, Prober(caller, store, clock=clock)) for caller in callers)

    async def start(self) -> None:
        """Take over the accounts of the control plane before. Raises Unavailable when the store is away."""
        await self._spending.start()

    async def close(self) -> None:
        """Close every connection."""
        for asked in self._asked:
            await asked.caller.close()

    @property
    def available(self) -> bool:
        """Whether there is an endpoint that may be asked now."""
        return any(_usable(asked) for asked in self._asked)

    @property
    def model_name(self) -> str:
        """The model of the first endpoint; "" without one."""
        return self._asked[0].endpoint.model if self._asked else ""

    @property
    def cost_per_day_usd(self) -> Decimal:
        """What models may cost a tenant in a day."""
        return self._spending.cost_per_day_usd

    def endpoints(self) -> tuple[EndpointStatus, ...]:
        """Tell of each endpoint, in order of preference."""
        return tuple(_status(asked) for asked in self._asked)

    async def ask(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Ask the first endpoint that answers, in order of preference."""
        tally = Tally(request.cost_usd_max)
        try:
            return await self._ask(request, on_delta, tally)
        except ReasoningError as error:
            error.input_tokens, error.output_tokens = tally.input_tokens, tally.output_tokens
            error.cost_usd = tally.cost_usd
            raise

    async def _ask(self, request: ModelRequest, on_delta: OnDelta | None, tally: Tally) -> ModelReply:
        permitted = [asked for asked in self._asked if guard.permitted(asked.endpoint.base_url)]
        if not permitted:
            raise NoModel(
                "calls of real models are forbidden in this process"
                if self._asked
                else "no model is configured; add model_endpoints to the settings, or go on by rules"
            )
        faults: list[tuple[str, Exception]] = []
        for asked in permitted:
            try:
                return await self._ask_one(asked, request, on_delta, tally)
            except (AttemptFailed, ReplyFault, ModelBudgetExceeded) as error:
                faults.append((asked.endpoint.name, error))
                log.info("model.failed", endpoint=asked.endpoint.name, error=str(error))
        raise _error_of(faults)

    async def _ask_one(
        self, asked: _Asked, request: ModelRequest, on_delta: OnDelta | None, tally: Tally
    ) -> ModelReply:
        features = known = await asked.prober.features()
        fault, answer, repaired = "", "", False
        for _ in range(_ROUNDS_MAX):
            question = Question(request, asked.endpoint, features)
            streams = on_delta is not None and question.streams
            body = question.body(request.output_tokens_max, fault=fault, answer=answer, stream=streams)
            most = _output_tokens(request, asked.endpoint, tally, estimate_body(body))
            body = question.body(most, fault=fault, answer=answer, stream=streams)
            try:
                raw = await asked.caller.call(body, request.purpose, tally, output_tokens_max=most, on_delta=on_delta)
            except Unsupported as error:
                fewer = lower(features, question, error.parameter, has_tools=bool(request.tools))
                if fewer is None:
                    raise Refused(str(error)) from None
                features = fewer
                continue
            if features != known:
                known = features
                await asked.prober.learn(features)
            try:
                reading = question.read(raw)
            except ReplyFault as error:
                if repaired:
                    raise
                fault, answer, repaired = str(error), raw.text, True
                continue
            return await _reply(asked.endpoint, question, raw, reading, tally, None if streams else on_delta)
        raise Refused("it refuses every form of the question")


async def _reply(
    endpoint: Endpoint, question: Question, raw: RawReply, reading: Reading, tally: Tally, on_delta: OnDelta | None
) -> ModelReply:
    if on_delta is not None and reading.text:
        await on_delta(reading.text)  # an endpoint that does not stream gives all at once
    return ModelReply(
        text=reading.text,
        calls=reading.calls,
        data=reading.data,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        cost_usd=tally.cost_usd,
        endpoint=endpoint.name,
        model=endpoint.model,
        mode=question.mode,
        truncated=raw.truncated,
    )


def _output_tokens(request: ModelRequest, endpoint: Endpoint, tally: Tally, input_tokens: int) -> int:
    """Return how long the reply may be. Raises ModelBudgetExceeded and TooLong."""
    left_to_read = request.input_tokens_max - tally.input_tokens  # less what was read for this question before
    if input_tokens > left_to_read:
        raise ModelBudgetExceeded(
            f"the prompt has about {input_tokens} tokens, and {max(left_to_read, 0)} are left; shorten it"
        )
    left = endpoint.context_tokens - input_tokens
    if left < min(_OUTPUT_TOKENS_MIN, request.output_tokens_max):
        raise TooLong(f"the prompt of about {input_tokens} tokens does not fit its {endpoint.context_tokens}")
    return min(request.output_tokens_max, left)


def _error_of(faults: Sequence[tuple[str, Exception]]) -> ReasoningError:
    told = "; ".join(f"{name}: {error}" for name, error in faults)
    errors = [error for _, error in faults]
    if all(isinstance(error, ModelBudgetExceeded | TooLong) for error in errors):
        return ModelBudgetExceeded(told)
    if any(isinstance(error, ReplyFault) for error in errors):
        return ModelReplyInvalid(told)
    return ModelUnavailable(told)


def _usable(asked: _Asked) -> bool:
    return guard.permitted(asked.endpoint.base_url) and asked.caller.breaker.state is not BreakerState.OPEN


def _status(asked: _Asked) -> EndpointStatus:
    known: Features | None = asked.prober.known
    return EndpointStatus(
        name=asked.endpoint.name,
        model=asked.endpoint.model,
        base_url=asked.endpoint.base_url,
        mode=None if known is None else known.mode,
        tools=known is not None and known.tools,
        streams=known is not None and known.streams,
        breaker=asked.caller.breaker.state.value,
        last_error=asked.caller.last_error,
        calls=asked.caller.calls,
        failures=asked.caller.failures,
    )
