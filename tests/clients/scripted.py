"""A real gRPC server over TLS that answers as a test tells it to, and remembers what it was asked."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf import any_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from orquanta.v1 import (
    action_pb2,
    agent_pb2,
    audit_pb2,
    auth_pb2,
    catalog_pb2,
    goal_pb2,
    incident_pb2,
    job_pb2,
    metrics_pb2,
    node_pb2,
    tool_pb2,
)

# Importing the modules is what puts their services into the descriptor pool.
_CONTRACT = (
    action_pb2,
    agent_pb2,
    audit_pb2,
    auth_pb2,
    catalog_pb2,
    goal_pb2,
    incident_pb2,
    job_pb2,
    metrics_pb2,
    node_pb2,
    tool_pb2,
)

Wanted = TypeVar("Wanted", bound=Message)


@dataclass(frozen=True)
class Failure:
    """An answer that is an error; without a reason it looks like one that gRPC itself made."""

    code: grpc.StatusCode
    message: str = "it failed"
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_seconds: float = 0.0

    def status(self) -> Status:
        details = []
        if self.reason:
            details.append(ErrorInfo(domain="orquanta", reason=self.reason, metadata=self.metadata))
        if self.retry_after_seconds:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(self.retry_after_seconds * 1000))
            details.append(RetryInfo(retry_delay=delay))
        status = Status(code=self.code.value[0], message=self.message)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return status


@dataclass(frozen=True)
class Silence:
    """No answer until the client goes away."""


Reply = Message | Failure | Silence
Answer = Reply | Sequence[Reply] | Callable[[Message], Message]


@dataclass(frozen=True)
class Call:
    """What a client sent."""

    method: str
    request: Message
    metadata: Mapping[str, str]
    seconds_left: float | None


class ScriptedServer:
    """Answers each method from a queue; the last answer is repeated for ever."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self.calls: list[Call] = []
        self._answers: dict[str, deque[Answer]] = defaultdict(deque)
        self._certificate = certificate
        self._key = key
        self._server: grpc.aio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        credentials = grpc.ssl_server_credentials([(self._key, self._certificate)])
        self.port = self._server.add_secure_port(f"127.0.0.1:{port}", credentials)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    def answer(self, method: str, *answers: Answer) -> None:
        """Answer `Service/Method` with these, in order. A list is what a stream sends."""
        _descriptor(method)  # a misspelt method fails here, not as a strange answer
        self._answers[method] = deque(answers)

    def requests(self, method: str, kind: type[Wanted]) -> list[Wanted]:
        found = [call.request for call in self.calls if call.method == method]
        assert all(isinstance(request, kind) for request in found)
        return [request for request in found if isinstance(request, kind)]

    def next_answer(self, method: str) -> Answer:
        answers = self._answers[method]
        if not answers:
            return Failure(grpc.StatusCode.UNIMPLEMENTED, f"the test gave no answer for {method}")
        return answers.popleft() if len(answers) > 1 else answers[0]


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # grpc types this loosely
        method = handler_call_details.method.removeprefix("/orquanta.v1.")
        descriptor = _descriptor(method)
        parse = message_factory.GetMessageClass(descriptor.input_type).FromString
        if descriptor.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(method), parse, _serialize)
        return grpc.unary_unary_rpc_method_handler(self._unary(method), parse, _serialize)

    def _unary(self, method: str) -> Callable[[Message, Any], Awaitable[Message]]:
        async def handle(request: Message, context: Any) -> Message:
            answer = self._record(method, request, context)
            reply = answer(request) if callable(answer) else answer
            assert not isinstance(reply, Sequence)
            return await _resolve(reply, context)

        return handle

    def _stream(self, method: str) -> Callable[[Message, Any], AsyncIterator[Message]]:
        async def handle(request: Message, context: Any) -> AsyncIterator[Message]:
            answer = self._record(method, request, context)
            assert not callable(answer)
            for reply in answer if isinstance(answer, Sequence) else [answer]:
                yield await _resolve(reply, context)

        return handle

    def _record(self, method: str, request: Message, context: Any) -> Answer:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self._server.calls.append(Call(method, request, metadata, context.time_remaining()))
        return self._server.next_answer(method)


async def _resolve(reply: Reply, context: Any) -> Message:
    if isinstance(reply, Failure):
        await context.abort_with_status(rpc_status.to_status(reply.status()))
    if isinstance(reply, Silence):
        await asyncio.Event().wait()
    assert isinstance(reply, Message)
    return reply


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _descriptor(method: str) -> MethodDescriptor:
    service, _, name = method.partition("/")
    found = descriptor_pool.Default().FindServiceByName(f"orquanta.v1.{service}").methods_by_name[name]
    assert isinstance(found, MethodDescriptor)
    return found


def json_lines(text: str) -> list[Any]:
    """The documents of a JSON-lines output."""
    return [json.loads(line) for line in text.splitlines()]
