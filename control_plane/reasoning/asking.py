"""How a request is put to an endpoint of given features, and what is read from the answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from control_plane.reasoning.contract import Message, ModelRequest, ModelToolCall, ReplyMode, Schema, Speaker
from control_plane.reasoning.endpoint import Endpoint, Features
from control_plane.reasoning.json_reply import JsonObject, NotJson, parse_object
from control_plane.reasoning.outcomes import RawReply
from control_plane.reasoning.schema import fitted, strict
from control_plane.reasoning.wire import ToolNames, messages_json, tool_json

_NONE: Final = "none"
_FAULT_CHARACTERS: Final = 300
_ECHO_CHARACTERS: Final = 4_000


class ReplyFault(Exception):
    """The answer is not what was asked for; the message tells the model why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from an answer."""

    text: str
    calls: tuple[ModelToolCall, ...]
    data: JsonObject | None


class Question:
    """A request as an endpoint of given features gets it."""

    def __init__(self, request: ModelRequest, endpoint: Endpoint, features: Features) -> None:
        self._request = request
        self._endpoint = endpoint
        self._features = features
        self._names = ToolNames.of(request.tools)
        # Tools that the endpoint does not know are asked for as data.
        self._told = bool(request.tools) and not features.tools
        self._schema = _told_schema(request, self._names) if self._told else request.schema
        self.mode = features.mode if self._schema is not None and not self._declared else ReplyMode.TEXT

    @property
    def _declared(self) -> bool:
        return bool(self._request.tools) and self._features.tools

    @property
    def streams(self) -> bool:
        """Whether the answer may be streamed without losing a part of it."""
        forced = self.mode is ReplyMode.TOOL
        return self._features.streams and (self._features.stream_tools or not (self._declared or forced))

    def body(self, output_tokens_max: int, *, fault: str = "", answer: str = "", stream: bool = False) -> JsonObject:
        """Return the request's body. `fault` asks for a repair of the `answer` before."""
        messages = _with_instructions(
            _flat(self._request.messages) if self._told else self._request.messages, self._words()
        )
        if fault:
            messages = (
                *messages,
                Message(Speaker.ASSISTANT, answer[:_ECHO_CHARACTERS]),
                Message(Speaker.USER, f"That cannot be used: {fault}. Answer again, with only the JSON object."),
            )
        body: JsonObject = {"model": self._endpoint.model, "messages": messages_json(messages, self._names)}
        body["max_completion_tokens" if self._features.completion_limit else "max_tokens"] = output_tokens_max
        if self._features.temperature:
            body["temperature"] = self._request.temperature
        if stream:
            body["stream"] = True
            if self._features.stream_usage:
                body["stream_options"] = {"include_usage": True}
        if self._declared:
            body["tools"] = [
                tool_json(self._names.to_wire[tool.name], tool.description, tool.parameters)
                for tool in self._request.tools
            ]
        self._add_mode(body)
        return body

    def _add_mode(self, body: JsonObject) -> None:
        if self._schema is None or self.mode is ReplyMode.TEXT:
            return
        name = self._schema_name
        if self.mode is ReplyMode.JSON_SCHEMA:
            form = {"name": name, "strict": True, "schema": self._strict}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self.mode is ReplyMode.JSON_OBJECT:
            body["response_format"] = {"type": "json_object"}
        else:
            body["tools"] = [tool_json(name, "Give the answer.", self._strict)]
            body["tool_choice"] = {"type": "function", "function": {"name": name}}

    @property
    def _strict(self) -> JsonObject:
        return strict(self._schema or {}, string_bounds=self._features.string_bounds)

    @property
    def _schema_name(self) -> str:
        name = "".join(
            character if character.isalnum() and character.isascii() else "_" for character in self._request.schema_name
        )
        return name[:64] or "reply"

    def _words(self) -> str:
        words = []
        if self._told:
            told = [
                f"{self._names.to_wire[t.name]}: {t.description} Arguments: {_compact(t.parameters)}"
                for t in self._request.tools
            ]
            words.append(
                "You may use one tool at a time. To use it, name it as `tool` and give its arguments as JSON text in "
                f'`arguments_json`; its result comes next. Otherwise `tool` is "{_NONE}" and your answer is `reply`.\n'
                + "\n".join(told)
            )
        if self._schema is not None and self.mode in {ReplyMode.JSON_OBJECT, ReplyMode.TEXT}:
            start = "When you call no tool, answer" if self._declared else "Answer"
            words.append(
                f"{start} with only one JSON object and no other text. It must fit this JSON Schema: "
                + _compact(strict(self._schema, string_bounds=True))
            )
        return "\n\n".join(words)

    def read(self, raw: RawReply) -> Reading:
        """Return what the answer says. Raises ReplyFault."""
        if self._told:
            return self._read_told(raw)
        if self._declared and raw.calls:
            names = self._names.from_wire
            calls = tuple(replace(call, name=names.get(call.name, call.name)) for call in raw.calls)
            return Reading(raw.text, calls, None)
        if self._schema is None:
            return Reading(raw.text, (), None)
        return Reading(raw.text, (), self._data(raw, self._schema))

    def _data(self, raw: RawReply, schema: Schema) -> JsonObject:
        # A server that ignores the forced call answers in its text.
        source = raw.calls[0].arguments_json if raw.calls else raw.text
        try:
            return fitted(schema, parse_object(source))
        except ValueError as error:  # NotJson as well
            fault = "it was cut off, as it is too long" if raw.truncated and isinstance(error, NotJson) else str(error)
            raise ReplyFault(fault[:_FAULT_CHARACTERS]) from None

    def _read_told(self, raw: RawReply) -> Reading:
        if self._schema is None:
            raise AssertionError("tools that are told of have a schema")
        data = self._data(raw, self._schema)
        name = str(data.get("tool", _NONE))
        if name != _NONE:
            arguments = str(data.get("arguments_json") or "{}")
            return Reading("", (ModelToolCall("call_1", self._names.from_wire.get(name, name), arguments),), None)
        reply = data.get("reply")
        if self._request.schema is None:
            return Reading(str(reply or ""), (), None)
        if not isinstance(reply, dict):
            raise ReplyFault("`reply` lacks the answer")
        return Reading(json.dumps(reply, ensure_ascii=False), (), reply)


def _told_schema(request: ModelRequest, names: ToolNames) -> Schema:
    reply: Mapping[str, Any] = {"type": "string"}  # Any: JSON Schema
    root: dict[str, Any] = {}
    if request.schema is not None:
        # References are to the root.
        reply = {key: value for key, value in request.schema.items() if key not in ("$defs", "definitions")}
        root = {key: value for key, value in request.schema.items() if key in ("$defs", "definitions")}
    return {
        **root,
        "type": "object",
        "properties": {
            "tool": {"type": "string", "enum": [*names.from_wire, _NONE]},
            "arguments_json": {"type": "string"},
            "reply": {"anyOf": [reply, {"type": "null"}]},
        },
        "required": ["tool"],
    }


def _with_instructions(messages: Sequence[Message], words: str) -> tuple[Message, ...]:
    if not words:
        return tuple(messages)
    if messages and messages[0].speaker is Speaker.SYSTEM:
        # Many templates know one system message only, the first.
        return (replace(messages[0], text=f"{messages[0].text}\n\n{words}"), *messages[1:])
    return (Message(Speaker.SYSTEM, words), *messages)


def _flat(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Write calls and their results as plain turns."""
    found = []
    names = {call.id: call.name for message in messages for call in message.calls}
    for message in messages:
        if message.calls:
            told = [_compact({"tool": call.name, "arguments_json": call.arguments_json}) for call in message.calls]
            found.append(Message(Speaker.ASSISTANT, "\n".join(filter(None, (message.text, *told)))))
        elif message.speaker is Speaker.TOOL:
            found.append(Message(Speaker.USER, f"Result of {names.get(message.call_id, 'the tool')}: {message.text}"))
        else:
            found.append(message)
    return tuple(found)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
