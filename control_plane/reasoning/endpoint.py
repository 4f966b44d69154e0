"""An OpenAI-compatible endpoint and what it turned out to be able to do."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from control_plane.reasoning.contract import ReplyMode

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is asked.

    Prices are US dollars per million tokens; `context_tokens` bounds prompt and reply together. `first_token_seconds`
    bounds every pause of a stream, the first one too.
    """

    name: str
    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    input_usd_per_million: Decimal = Decimal(0)
    output_usd_per_million: Decimal = Decimal(0)
    context_tokens: int = 32_768
    connect_seconds: float = 5.0
    first_token_seconds: float = 30.0
    timeout_seconds: float = 60.0
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def key(self) -> str:
        """Names the endpoint together with its model: SHA-256 in hexadecimal."""
        return hashlib.sha256(f"{self.base_url}\0{self.model}".encode()).hexdigest()

    def cost_usd(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return what so many tokens cost."""
        return (input_tokens * self.input_usd_per_million + output_tokens * self.output_usd_per_million) / _MILLION


@dataclass(frozen=True, slots=True)
class Features:
    """What an endpoint can do with its model.

    `string_bounds` tells that its strict schemas take `maxLength`, `completion_limit` that it wants
    `max_completion_tokens`, `temperature` that it takes one.
    """

    mode: ReplyMode
    tools: bool
    streams: bool
    stream_usage: bool
    stream_tools: bool
    string_bounds: bool
    completion_limit: bool
    temperature: bool
    probed_at: datetime
