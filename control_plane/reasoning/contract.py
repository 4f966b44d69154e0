"""What the rest of the control plane knows of a language model."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from control_plane.model.ids import GoalId, RunId, UserId

Schema = Mapping[str, Any]  # Any: a JSON Schema object

OnDelta = Callable[[str], Awaitable[None]]
"""Is given each piece of text as the model writes it."""


class Speaker(StrEnum):
    """Whose words a message holds."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ReplyMode(StrEnum):
    """How an endpoint is asked for data, best first; what an endpoint can do is probed once."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TOOL = "tool"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class ModelToolCall:
    """A tool that the model wants called. Hostile until checked."""

    id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `calls` are an assistant's; `call_id` names the call that a TOOL message answers."""

    speaker: Speaker
    text: str
    calls: tuple[ModelToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolDeclaration:
    """A tool as the model is told of it."""

    name: str
    description: str
    parameters: Schema


@dataclass(frozen=True, slots=True)
class Purpose:
    """For whom and what tokens and money are spent. `user_id` is the tenant."""

    agent_name: str
    user_id: UserId | None = None
    goal_id: GoalId | None = None
    run_id: RunId | None = None


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to a model.

    `schema` asks for data of this shape; `cost_usd_max` is checked before the call by the worst case, as is what the
    tenant has left for the day. `output_tokens_max` bounds the reply.
    """

    messages: tuple[Message, ...]
    purpose: Purpose
    tools: tuple[ToolDeclaration, ...] = ()
    schema: Schema | None = None
    schema_name: str = "reply"
    output_tokens_max: int = 1_500
    input_tokens_max: int = 60_000
    cost_usd_max: Decimal | None = None
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What a model said.

    `data` is parsed and fits the request's schema, or is None if the model calls tools; every value in it is still
    hostile. Tokens and cost are those of the whole question, failed attempts and a repair included. `mode` tells how
    it was asked; `truncated` that the reply hit its bound.
    """

    text: str
    calls: tuple[ModelToolCall, ...]
    data: Mapping[str, Any] | None  # Any: JSON
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    endpoint: str
    model: str
    mode: ReplyMode
    truncated: bool = False


class Reasoner(Protocol):
    """Asks models. Raises the errors of `control_plane.reasoning.errors`; never anything of the openai package."""

    @property
    def available(self) -> bool:
        """Whether there is an endpoint that may be asked now; without one everything goes by rules."""
        ...

    @property
    def model_name(self) -> str:
        """The preferred model's name; "" without one."""
        ...

    async def ask(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Ask the first endpoint that answers, in order of preference."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """What is known of an endpoint.

    `mode` is None before the first call; `breaker` is "closed", "open" or "half_open"; counts are since the start.
    """

    name: str
    model: str
    base_url: str
    mode: ReplyMode | None
    tools: bool
    streams: bool
    breaker: str
    last_error: str
    calls: int
    failures: int


class ReasoningReport(Protocol):
    """Tells how reasoning is done."""

    @property
    def cost_per_day_usd(self) -> Decimal:
        """What models may cost a tenant in a day, in US dollars."""
        ...

    def endpoints(self) -> tuple[EndpointStatus, ...]:
        """Tell of each endpoint, in order of preference; none if everything goes by rules."""
        ...
