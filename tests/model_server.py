"""An OpenAI-compatible server over real HTTP that answers as a test wants, and misbehaves on demand."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

JsonObject = dict[str, Any]  # Any: JSON

EVERYTHING: Final = frozenset({"json_schema", "json_object", "tools", "stream", "stream_usage", "string_bounds"})
_BODY_BYTES_MAX: Final = 8 << 20


@dataclass(frozen=True)
class Answer:
    """What is sent. `hang` never ends it; `cut` closes the connection before the end."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


@dataclass
class ModelServer:
    """`answers` are given first, in turn; then `say` makes the answers. `abilities` is what the server knows."""

    url: str
    abilities: frozenset[str] = EVERYTHING
    say: Callable[[JsonObject], Answer | None] = lambda _body: None
    answers: list[Answer] = field(default_factory=list)
    requests: list[JsonObject] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    usage: bool = True

    def of_tests(self) -> list[JsonObject]:
        """What was asked besides probes."""
        return [body for body in self.requests if not _is_probe(body)]

    def probes(self) -> list[JsonObject]:
        return [body for body in self.requests if _is_probe(body)]

    def answer(self, body: JsonObject) -> Answer:
        self.requests.append(body)
        refusal = self._refusal(body)
        if refusal is not None:
            return refusal
        if _is_probe(body):
            return self._probed(body)
        if self.answers:
            return self.answers.pop(0)
        return self.say(body) or self.spoken(body, "Good.")

    def spoken(
        self,
        body: JsonObject,
        text: str = "",
        *,
        calls: Sequence[tuple[str, str]] = (),
        usage: Any = (20, 5),
        finish: str = "stop",
    ) -> Answer:
        """An answer in the form that the body asks for."""
        counted: Any = {"prompt_tokens": usage[0], "completion_tokens": usage[1]} if isinstance(usage, tuple) else usage
        made: list[JsonObject] = [
            {
                "index": number,
                "id": f"c{number}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for number, (name, arguments) in enumerate(calls)
        ]
        if not body.get("stream"):
            message: JsonObject = {"role": "assistant", "content": text}
            if made:
                message["tool_calls"] = made
            whole: JsonObject = {
                "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                "usage": counted,
            }
            return Answer(body=json.dumps(whole).encode())
        pieces: list[JsonObject] = [{"content": text[at : at + 4]} for at in range(0, len(text), 4)]
        pieces += [{"tool_calls": [call]} for call in made]
        events = [{"choices": [{"index": 0, "delta": piece}]} for piece in pieces]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if body.get("stream_options") and counted is not None:
            events.append({"choices": [], "usage": counted})
        return Answer(body=events_of(events) + b"data: [DONE]\n\n", headers={"Content-Type": "text/event-stream"})

    def _refusal(self, body: JsonObject) -> Answer | None:
        form = (body.get("response_format") or {}).get("type")
        if form is not None and form not in self.abilities:
            return failure(500, f"validation error: response_format {form} is not supported")
        if form == "json_schema" and "maxLength" in json.dumps(body) and "string_bounds" not in self.abilities:
            return failure(400, "Invalid schema: 'maxLength' is not permitted")
        if body.get("stream") and "stream" not in self.abilities:
            return failure(400, "streaming is not supported")
        if body.get("stream_options") and "stream_usage" not in self.abilities:
            return failure(400, "Unknown parameter: stream_options")
        if body.get("tools") and "tools" not in self.abilities and "ignores_tools" not in self.abilities:
            return failure(400, "tools are not supported")
        if "max_tokens" in body and "completion_limit" in self.abilities:
            return failure(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in body and "no_temperature" in self.abilities:
            return failure(400, "Unsupported value: 'temperature' does not support 0.0 with this model.")
        return None

    def _probed(self, body: JsonObject) -> Answer:
        if body.get("tools") and "tools" in self.abilities:
            name = body["tools"][0]["function"]["name"]
            arguments = '{"city": "Oslo"}' if name == "temperature_of" else '{"yes": true, "word": "wet"}'
            return self.spoken(body, calls=[(name, arguments)])
        if body.get("response_format"):
            return self.spoken(body, '{"yes": true, "word": "wet"}')
        return self.spoken(body, "Hello.")


def failure(status: int, message: str, **headers: str) -> Answer:
    """An error as such servers send it."""
    body = json.dumps({"error": {"message": message}}).encode()
    return Answer(status=status, body=body, headers={key.replace("_", "-"): value for key, value in headers.items()})


def events_of(events: Sequence[object]) -> bytes:
    """Server-sent events."""
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def _is_probe(body: JsonObject) -> bool:
    last = body["messages"][-1]["content"]
    return any(words in last for words in ("Say hello in one word", "Is water wet?", "How warm is it in Oslo?"))


@asynccontextmanager
async def running_model_server() -> AsyncIterator[ModelServer]:
    """A server on a free port of this machine."""
    writers: set[asyncio.StreamWriter] = set()
    closed, idle = asyncio.Event(), asyncio.Event()
    idle.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        idle.clear()
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = {
                    key.strip().lower(): value.strip()
                    for key, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
                }
                length = int(fields.get("content-length", 0))
                assert length < _BODY_BYTES_MAX
                body = json.loads(await reader.readexactly(length))
                server.headers.append(head)
                if not await _send(writer, server.answer(body), closed):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writers.discard(writer)
            writer.close()
            if not writers:
                idle.set()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server = ModelServer(f"http://127.0.0.1:{port}/v1")
    try:
        yield server
    finally:
        closed.set()
        listener.close()
        for writer in tuple(writers):
            writer.close()
        await asyncio.wait_for(listener.wait_closed(), 30)
        await asyncio.wait_for(idle.wait(), 30)


async def _send(writer: asyncio.StreamWriter, answer: Answer, closed: asyncio.Event) -> bool:
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked", **answer.headers}
    head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    writer.write(head.encode() + b"\r\n")
    for at in range(0, len(answer.body), 65_536):
        part = answer.body[at : at + 65_536]
        writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        await writer.drain()
    if answer.hang:
        await closed.wait()
        return False
    if answer.cut:
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True
