"""Bounds on calls that stay open."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from inspect import isasyncgenfunction
from typing import Any, Final

import grpc
from grpc import aio

from control_plane.errors import ResourceExhausted
from control_plane.model.identity import NodePrincipal, Principal

STREAMS_PER_CALLER_MAX: Final = 100
FOREIGN_STREAMS_MAX: Final = 64
"""Open streams of the health and reflection services together; they need no credentials."""

# Any: gRPC types its handlers for the blocking server only, and each has its method's own messages.
Handler = Any
Context = aio.ServicerContext[Any, Any]


class CallLimits:
    """Counts the open streams of each caller."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @property
    def streams(self) -> int:
        """How many streams of all callers are open."""
        return self._open.total()

    @contextmanager
    def stream_of(self, principal: Principal | NodePrincipal | None) -> Iterator[None]:
        """Count one stream while the block runs. Raises ResourceExhausted when there are too many."""
        caller = _name(principal)
        if self._open[caller] >= STREAMS_PER_CALLER_MAX:
            raise ResourceExhausted(
                f"{STREAMS_PER_CALLER_MAX} streams are open already; close some first", reason="TOO_MANY_STREAMS"
            )
        with self._counted(caller):
            yield

    def wrap_foreign(self, handler: Handler) -> Handler:
        """Bound the streams of a service that is not ours; its single calls are short and pass as they are."""
        if not handler.response_streaming:
            return handler
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream

        if isasyncgenfunction(behaviour):

            async def generate(request: Any, context: Context) -> AsyncIterator[Any]:  # Any: its own messages
                await self._refuse_when_full(context)
                with self._counted(_FOREIGN):
                    async with aclosing(behaviour(request, context)) as responses:
                        async for response in responses:
                            yield response

            wrapped: Any = generate  # Any: one of two shapes that gRPC tells apart by itself
        else:

            async def write(request: Any, context: Context) -> None:  # Any: its own messages
                await self._refuse_when_full(context)
                with self._counted(_FOREIGN):
                    await behaviour(request, context)

            wrapped = write
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    async def _refuse_when_full(self, context: Context) -> None:
        if self._open[_FOREIGN] >= FOREIGN_STREAMS_MAX:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many open health or reflection streams; retry later"
            )

    @contextmanager
    def _counted(self, caller: str) -> Iterator[None]:
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


_FOREIGN: Final = "foreign"


def _name(principal: Principal | NodePrincipal | None) -> str:
    if isinstance(principal, Principal):
        return f"user:{principal.user_id}"
    return f"node:{principal.node_id}" if isinstance(principal, NodePrincipal) else "nobody"
