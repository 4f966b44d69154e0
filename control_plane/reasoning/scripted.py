"""A Reasoner that says what a test or a demo tells it to, and costs nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, TypeAlias

from control_plane.model.redaction import redact
from control_plane.reasoning.asking import ReplyFault
from control_plane.reasoning.contract import EndpointStatus, ModelReply, ModelRequest, ModelToolCall, OnDelta, ReplyMode
from control_plane.reasoning.errors import ModelBudgetExceeded, ModelReplyInvalid, NoModel, ReasoningError
from control_plane.reasoning.json_reply import parse_object
from control_plane.reasoning.schema import fitted
from control_plane.reasoning.tokens import estimate_tokens

_PIECE_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """What the model says: a text, data, or calls of tools. `data` is written as JSON if there is no text."""

    text: str = ""
    calls: tuple[ModelToolCall, ...] = ()
    data: Mapping[str, Any] | None = None  # Any: JSON
    cost_usd: Decimal = Decimal(0)
    truncated: bool = False


Scripted: TypeAlias = ScriptedReply | str | Mapping[str, Any] | ReasoningError  # Any: JSON
"""A text, data, a whole reply, or an error to raise."""

Script: TypeAlias = Sequence[Scripted] | Callable[[ModelRequest], Scripted]


@dataclass(slots=True)
class ScriptedModel:
    """Gives the replies of a list in turn, or what a function makes of each request.

    As from a real endpoint, data is checked against the request's schema, secrets are taken out of `requests`, and
    an error is raised for what costs more than the request allows. `model_name` is "" for one that is not there.
    """

    script: Script
    model_name: str = "scripted"
    requests: list[ModelRequest] = field(default_factory=list)
    """What was asked, without secrets."""

    @property
    def available(self) -> bool:
        """Whether it has a name."""
        return bool(self.model_name)

    @property
    def cost_per_day_usd(self) -> Decimal:
        """Nothing."""
        return Decimal(0)

    def endpoints(self) -> tuple[EndpointStatus, ...]:
        """Tell of itself as of one endpoint."""
        if not self.available:
            return ()
        calls = len(self.requests)
        return (
            EndpointStatus(
                "scripted", self.model_name, "", ReplyMode.JSON_SCHEMA, tools=True, streams=True, breaker="closed",
                last_error="", calls=calls, failures=0,
            ),
        )  # fmt: skip

    @property
    def left(self) -> int:
        """How many replies of the list were not asked for."""
        return 0 if callable(self.script) else max(0, len(self.script) - len(self.requests))

    def assert_complete(self) -> None:
        """Raise AssertionError if replies of the list were not asked for."""
        if self.left:
            raise AssertionError(f"{self.left} of the scripted replies were not asked for")

    async def ask(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Give the next reply. Raises AssertionError when the list has no more."""
        if not self.available:
            raise NoModel("no model is configured; go on by rules")
        spoken = self._next(_without_secrets(request))
        if isinstance(spoken, ReasoningError):
            raise spoken
        reply = self._reply(request, spoken)
        if request.cost_usd_max is not None and reply.cost_usd > request.cost_usd_max:
            raise ModelBudgetExceeded(
                f"the call could cost {reply.cost_usd}, and {request.cost_usd_max} is left for it"
            )
        if on_delta is not None:
            for start in range(0, len(reply.text), _PIECE_CHARACTERS):
                await on_delta(reply.text[start : start + _PIECE_CHARACTERS])
        return reply

    def _next(self, request: ModelRequest) -> Scripted:
        number = len(self.requests)
        self.requests.append(request)
        if callable(self.script):
            return self.script(request)
        if number >= len(self.script):
            raise AssertionError(f"the script has {len(self.script)} replies, and another was asked for")
        return self.script[number]

    def _reply(self, request: ModelRequest, spoken: ScriptedReply | str | Mapping[str, Any]) -> ModelReply:
        if isinstance(spoken, str):
            spoken = ScriptedReply(text=spoken)
        elif not isinstance(spoken, ScriptedReply):
            spoken = ScriptedReply(data=spoken)
        text = spoken.text or ("" if spoken.data is None else json.dumps(spoken.data))
        calls = spoken.calls if request.tools else ()
        data = None
        if request.schema is not None and not calls:
            try:
                data = fitted(request.schema, parse_object(text))
            except (ReplyFault, ValueError) as error:
                raise ModelReplyInvalid(f"scripted: {error}") from None
        written = text + "".join(call.name + call.arguments_json for call in calls)
        return ModelReply(
            text=text,
            calls=calls,
            data=data,
            input_tokens=sum(estimate_tokens(message.text) + 1 for message in request.messages),
            output_tokens=estimate_tokens(written) + 1,
            cost_usd=spoken.cost_usd,
            endpoint="scripted",
            model=self.model_name,
            mode=ReplyMode.TEXT if request.schema is None else ReplyMode.JSON_SCHEMA,
            truncated=spoken.truncated,
        )


def _without_secrets(request: ModelRequest) -> ModelRequest:
    messages = tuple(
        replace(
            message,
            text=redact(message.text),
            calls=tuple(replace(call, arguments_json=redact(call.arguments_json)) for call in message.calls),
        )
        for message in request.messages
    )
    return replace(request, messages=messages)
