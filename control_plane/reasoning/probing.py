"""Finds out once what an endpoint can do with its model. The answer is kept for a day, over restarts too."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import OrQuantaError
from control_plane.reasoning.asking import Question, ReplyFault
from control_plane.reasoning.caller import EndpointCaller
from control_plane.reasoning.contract import Message, ModelRequest, Purpose, ReplyMode, Speaker, ToolDeclaration
from control_plane.reasoning.endpoint import Features
from control_plane.reasoning.outcomes import RawReply, Refused, Unsupported
from control_plane.reasoning.spending import Tally
from control_plane.store import model_usage
from control_plane.store.database import Store
from control_plane.store.model_usage import EndpointFeatures

log = structlog.get_logger()

FEATURES_KEPT: Final = timedelta(days=1)
_OUTPUT_TOKENS: Final = 256
_COST_USD_MAX: Final = Decimal("0.50")
_PURPOSE: Final = Purpose("model_probe")
_STEPS_MAX: Final = 8
_PLAIN: Final = ModelRequest((Message(Speaker.USER, "Say hello in one word."),), _PURPOSE)
# The prompt does not speak of JSON: who answers in it all the same was made to.
_DATA: Final = ModelRequest(
    (Message(Speaker.USER, "Is water wet?"),),
    _PURPOSE,
    schema={
        "type": "object",
        "properties": {"yes": {"type": "boolean"}, "word": {"type": "string", "maxLength": 20}},
        "required": ["yes", "word"],
        "additionalProperties": False,
    },
    schema_name="answer",
)
_TOOL: Final = ModelRequest(
    (Message(Speaker.USER, "How warm is it in Oslo? Use the tool."),),
    _PURPOSE,
    tools=(
        ToolDeclaration(
            "temperature_of",
            "Tells the temperature in a city.",
            {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        ),
    ),
)


class Prober:
    """What one endpoint can do, probed at the first need."""

    def __init__(self, caller: EndpointCaller, store: Store, *, clock: Clock) -> None:
        self._caller = caller
        self._store = store
        self._clock = clock
        self._known: Features | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def known(self) -> Features | None:
        """What is known without asking."""
        return self._known

    async def features(self) -> Features:
        """Return what the endpoint can do; probe it if that is not known or older than a day.

        Probes are paid by the control plane itself, not by who asks first.

        Raises what EndpointCaller.call raises; then nothing is kept.
        """
        async with self._one_at_a_time:
            known = self._known or await self._load()
            if known is None or self._clock.now() - known.probed_at >= FEATURES_KEPT:
                known = await self._probe()
                await self.learn(known)
            self._known = known
            return known

    async def learn(self, found: Features) -> None:
        """Keep what was found out."""
        self._known = found
        log.info("model.probed", endpoint=self._caller.endpoint.name, mode=found.mode.value, tools=found.tools)
        kept = EndpointFeatures(**{**asdict(found), "mode": found.mode.value})
        key = self._caller.endpoint.key
        try:
            await self._store.write(lambda tx: model_usage.keep_features(tx, key, kept))
        except OrQuantaError as error:
            log.warning("model.features_not_kept", error=error.message)

    async def _load(self) -> Features | None:
        try:
            row = await self._store.read(lambda tx: model_usage.features(tx, self._caller.endpoint.key))
        except OrQuantaError:
            return None
        if row is None:
            return None
        return Features(**{**asdict(row), "mode": ReplyMode(row.mode)})

    async def _probe(self) -> Features:
        found = Features(
            mode=ReplyMode.TEXT,
            tools=False,
            streams=True,
            stream_usage=True,
            stream_tools=False,
            string_bounds=False,
            completion_limit=False,
            temperature=True,
            probed_at=self._clock.now(),
        )
        found = await self._probe_text(found)
        found = await self._probe_tools(found)
        return await self._probe_mode(found)

    async def _probe_text(self, found: Features) -> Features:
        for _ in range(_STEPS_MAX):
            try:
                raw = await self._ask(_PLAIN, found, stream=found.streams)
            except Unsupported as error:
                lower = without(found, error.parameter)
                if lower is None:
                    lower = replace(found, streams=False, stream_usage=False) if found.streams else None
                if lower is None:
                    raise
                found = lower
                continue
            return replace(found, stream_usage=found.streams and raw.output_tokens is not None)
        raise Refused("it refuses every form of a plain question", lasting=True)

    async def _probe_tools(self, found: Features) -> Features:
        declared = replace(found, tools=True)
        if found.streams and await self._calls_tool(replace(declared, stream_tools=True), stream=True):
            return replace(declared, stream_tools=True)
        return declared if await self._calls_tool(declared, stream=False) else found

    async def _calls_tool(self, features: Features, *, stream: bool) -> bool:
        try:
            raw = await self._ask(_TOOL, features, stream=stream, forced=True)
        except (Unsupported, Refused):
            return False
        return any(call.name == "temperature_of" for call in raw.calls)

    async def _probe_mode(self, found: Features) -> Features:
        bounded = replace(found, mode=ReplyMode.JSON_SCHEMA, string_bounds=True)
        rungs = [bounded, *(replace(found, mode=mode) for mode in ReplyMode if mode is not ReplyMode.TEXT)]
        for tried in rungs:
            if tried.mode is ReplyMode.TOOL and not found.tools:
                continue
            try:
                raw = await self._ask(_DATA, tried, stream=False)
                if not raw.truncated:
                    Question(_DATA, self._caller.endpoint, tried).read(raw)
                elif not (raw.calls or raw.text.lstrip().startswith("{") or not raw.text):
                    continue
            except (Unsupported, Refused, ReplyFault):
                continue
            return tried
        return found

    async def _ask(self, request: ModelRequest, features: Features, *, stream: bool, forced: bool = False) -> RawReply:
        body = Question(request, self._caller.endpoint, features).body(_OUTPUT_TOKENS, stream=stream)
        if forced:
            body["tool_choice"] = _choice(body)
        return await self._caller.call(body, _PURPOSE, Tally(_COST_USD_MAX), output_tokens_max=_OUTPUT_TOKENS)


def _choice(body: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    return {"type": "function", "function": {"name": body["tools"][0]["function"]["name"]}}


def without(features: Features, parameter: str) -> Features | None:
    """Return features without what an endpoint said it does not know; None where nothing can be left out."""
    match parameter:
        case "max_completion_tokens" | "max_tokens" if not features.completion_limit:
            # "Unsupported parameter: max_tokens; use max_completion_tokens": both names occur.
            return replace(features, completion_limit=True)
        case "temperature" if features.temperature:
            return replace(features, temperature=False)
        case "stream_options" if features.stream_usage:
            return replace(features, stream_usage=False)
        case _:
            return None


def lower(features: Features, question: Question, parameter: str, *, has_tools: bool) -> Features | None:
    """Return the next rung down the ladder for a question that was refused as unsupported, or None at its end."""
    named = without(features, parameter)
    if named is not None:
        return named
    ladder = tuple(ReplyMode)
    if question.mode is not ReplyMode.TEXT:
        return replace(features, mode=ladder[ladder.index(features.mode) + 1])
    if has_tools and features.tools:
        return replace(features, tools=False, stream_tools=False)
    return None
