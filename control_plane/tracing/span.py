"""A span: something that took time, and where it belongs in a trace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orquanta.tracing import TraceContext

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has ended. `error` says what went wrong; empty if nothing did. Attributes hold no person's words."""

    name: str
    context: TraceContext
    parent_span_id: str
    started_at: datetime
    ended_at: datetime
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str = ""
    serves: bool = False
    """True for a call that somebody else made."""
