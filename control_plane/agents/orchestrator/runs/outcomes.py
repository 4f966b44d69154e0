"""Outcomes of steps that reach outside, bounded and printable."""

import json
from collections.abc import Mapping
from typing import Any, Final

from control_plane.agents.orchestrator.runs.bounds import CALLS_PER_TURN_MAX, plain
from control_plane.model.run_step import Outcome
from control_plane.model.tool import ToolResult, ToolStatus
from control_plane.reasoning.contract import ModelReply

TEXT_CHARS_MAX: Final = 16_000
"""Of what a model writes in one reply."""

DATA_CHARS_MAX: Final = 64_000
"""Of a result or reply that is kept as data."""

_ARGUMENTS_CHARS_MAX = 32_000


def error_result(code: str, text: str) -> ToolResult:
    """Return the result of a call that was not made, or did not work."""
    return ToolResult(ToolStatus.ERROR, {}, error_code=code, error=text)


def no_reply(code: str, seconds: float, text: str = "") -> Outcome:
    """Return the outcome of a question to a model without an answer; `seconds` is how long it took."""
    return Outcome("failed", {"error": plain(text, 500)}, error_code=code, seconds=seconds)


def reply_outcome(reply: ModelReply, seconds: float) -> Outcome:
    """Return the outcome of a model's reply: hostile still, within bounds."""
    calls = [
        {
            "id": plain(call.id, 64) or f"call-{number}",
            "name": plain(call.name, 64),
            "arguments_json": plain(call.arguments_json, _ARGUMENTS_CHARS_MAX),
        }
        for number, call in enumerate(reply.calls[:CALLS_PER_TURN_MAX], 1)
    ]
    data: Any = None if reply.data is None else _bounded(reply.data)  # Any: JSON of any shape
    return Outcome(
        "replied",
        {"text": plain(reply.text, TEXT_CHARS_MAX), "calls": calls, "data": data, "truncated": reply.truncated},
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        cost_usd=reply.cost_usd,
        seconds=seconds,
        model=reply.model,
    )


def _bounded(data: Mapping[str, Any]) -> Any:  # Any: JSON of any shape
    text = json.dumps(data, default=str)
    return json.loads(text) if len(text) <= DATA_CHARS_MAX else None
