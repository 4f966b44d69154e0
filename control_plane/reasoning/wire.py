"""Requests as the Chat Completions API wants them, and answers as it gives them. Answers are hostile."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from control_plane.model.redaction import redact
from control_plane.reasoning.contract import Message, ModelToolCall, Speaker, ToolDeclaration
from control_plane.reasoning.outcomes import RawReply

TEXT_CHARACTERS_MAX: Final = 256 * 1024
CALLS_MAX: Final = 16
ARGUMENTS_CHARACTERS_MAX: Final = 64 * 1024
_NAME_CHARACTERS_MAX: Final = 64
_ID_CHARACTERS_MAX: Final = 64
_TOKENS_MAX: Final = 100_000_000
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_CONTROLS: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)

JsonObject = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class ToolNames:
    """Names of tools as the API allows them: letters, digits, underscore and hyphen, at most 64."""

    to_wire: Mapping[str, str]
    from_wire: Mapping[str, str]

    @classmethod
    def of(cls, tools: Sequence[ToolDeclaration]) -> "ToolNames":
        """Give each tool a name of its own."""
        to_wire: dict[str, str] = {}
        for tool in tools:
            plain = _NOT_IN_NAMES.sub("_", tool.name)[:_NAME_CHARACTERS_MAX] or "tool"
            name, number = plain, 2
            while name in to_wire.values():
                name, number = f"{plain[: _NAME_CHARACTERS_MAX - 4]}_{number}", number + 1
            to_wire[tool.name] = name
        return cls(to_wire, {wire: name for name, wire in to_wire.items()})


def messages_json(messages: Sequence[Message], names: ToolNames) -> list[JsonObject]:
    """Return messages without their secrets. Every turn has a text, though empty: some servers fail without."""
    return [_message_json(message, names) for message in messages]


def _message_json(message: Message, names: ToolNames) -> JsonObject:
    found: JsonObject = {"role": message.speaker.value, "content": redact(message.text)}
    if message.speaker is Speaker.ASSISTANT and message.calls:
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": names.to_wire.get(call.name) or _NOT_IN_NAMES.sub("_", call.name)[:_NAME_CHARACTERS_MAX],
                    "arguments": redact(call.arguments_json),
                },
            }
            for call in message.calls
        ]
    if message.speaker is Speaker.TOOL:
        found["tool_call_id"] = message.call_id
    return found


def tool_json(name: str, description: str, parameters: Mapping[str, Any]) -> JsonObject:
    """Return the declaration of one tool."""
    return {
        "type": "function",
        "function": {"name": name, "description": redact(description), "parameters": dict(parameters)},
    }


def printable(text: str) -> str:
    """Return text without control characters, invisible ones and halves of characters; line ends and tabs stay."""
    return _CONTROLS.sub("", text)


def reply_of(answer: object) -> RawReply:
    """Read a whole answer. Whatever has the wrong type counts as absent; what is too large is cut."""
    choices = _get(answer, "choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = _get(first, "message")
    text = _text(_get(message, "content")) or _text(_get(message, "refusal"))
    calls = _get(message, "tool_calls")
    collected = [_call_parts(call) for call in calls[:CALLS_MAX]] if isinstance(calls, list) else []
    usage = _get(answer, "usage")
    return make_reply(
        text,
        collected,
        input_tokens=tokens(_get(usage, "prompt_tokens")),
        output_tokens=tokens(_get(usage, "completion_tokens")),
        finish_reason=_get(first, "finish_reason"),
    )


def make_reply(
    text: str,
    calls: Sequence[tuple[str, str, str]],
    *,
    input_tokens: int | None,
    output_tokens: int | None,
    finish_reason: object,
) -> RawReply:
    """Bound what came. `calls` are ids, names and arguments; a call without an id of its own gets one."""
    found: list[ModelToolCall] = []
    cut = len(text) > TEXT_CHARACTERS_MAX
    for number, (call_id, name, arguments) in enumerate(calls[:CALLS_MAX], start=1):
        taken = {call.id for call in found}
        usable = _NOT_IN_NAMES.search(call_id) is None and 0 < len(call_id) <= _ID_CHARACTERS_MAX
        cut = cut or len(arguments) > ARGUMENTS_CHARACTERS_MAX
        found.append(
            ModelToolCall(
                id=call_id if usable and call_id not in taken else f"call_{number}",
                name=printable(name)[:_NAME_CHARACTERS_MAX],
                arguments_json=printable(arguments[:ARGUMENTS_CHARACTERS_MAX]) or "{}",
            )
        )
    return RawReply(
        text=printable(text[:TEXT_CHARACTERS_MAX]),
        calls=tuple(found),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        truncated=cut or finish_reason == "length",
    )


@dataclass(slots=True)
class StreamedReply:
    """Puts the chunks of a stream together."""

    text: str = ""
    chunks: int = 0
    finish_reason: object = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    calls: dict[int, list[str]] | None = None

    def add(self, chunk: object) -> str:
        """Take one chunk in; return the text that it adds."""
        self.chunks += 1
        usage = _get(chunk, "usage")
        if isinstance(usage, dict):
            self.input_tokens = tokens(usage.get("prompt_tokens"))
            self.output_tokens = tokens(usage.get("completion_tokens"))
        choices = _get(chunk, "choices")
        first = choices[0] if isinstance(choices, list) and choices else {}
        self.finish_reason = _get(first, "finish_reason") or self.finish_reason
        delta = _get(first, "delta")
        piece = _text(_get(delta, "content"))[: TEXT_CHARACTERS_MAX + 1 - len(self.text)]
        self.text += piece
        self._add_calls(_get(delta, "tool_calls"))
        return printable(piece)

    def _add_calls(self, parts: object) -> None:
        self.calls = {} if self.calls is None else self.calls
        for position, part in enumerate(parts[:CALLS_MAX] if isinstance(parts, list) else []):
            index = _get(part, "index")
            place = index if isinstance(index, int) and 0 <= index < CALLS_MAX else position
            call = self.calls.setdefault(place, ["", "", ""])
            call_id, name, arguments = _call_parts(part)
            call[0] = call[0] or call_id
            call[1] = call[1] or name
            call[2] = (call[2] + arguments)[: ARGUMENTS_CHARACTERS_MAX + 1]

    def reply(self) -> RawReply:
        """Return what came in all."""
        ordered = sorted((self.calls or {}).items())
        return make_reply(
            self.text,
            [(call[0], call[1], call[2]) for _, call in ordered],
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            finish_reason=self.finish_reason,
        )


def tokens(value: object) -> int | None:
    """Return a count of tokens as an endpoint tells it, or None if it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _TOKENS_MAX:
        return None
    return value


def _get(value: object, key: str) -> Any:  # Any: JSON
    return value.get(key) if isinstance(value, dict) else None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # parts, as some servers send them
        return "".join(_text(_get(part, "text")) for part in value)
    return ""


def _call_parts(call: object) -> tuple[str, str, str]:
    function = _get(call, "function")
    arguments = _get(function, "arguments")
    if isinstance(arguments, dict):
        # The standard wants text here; some servers send the object itself.
        arguments = json.dumps(arguments)
    return _text(_get(call, "id")), _text(_get(function, "name")), _text(arguments)
