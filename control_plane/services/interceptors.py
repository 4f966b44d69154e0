"""The gate every call passes: size, credentials, role, deadline; and the one place where errors become statuses.

The gate wraps each method's handler once. A wrapped handler takes and gives bytes, so that garbage, oversized
and unknown input is refused with a proper error before anything of the product sees it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc import aio

from control_plane.clock import Clock
from control_plane.errors import InvalidArgument, OrQuantaError, Unauthenticated
from control_plane.model.identity import NodePrincipal, Principal, Role
from control_plane.services.access import PACKAGE, RULES, Port, Rule, Special
from control_plane.services.authentication import FRESH_SECONDS, Authenticator
from control_plane.services.call_identity import authorise, credential_of, node_of
from control_plane.services.call_traces import CallTraces
from control_plane.services.caller import PRINCIPAL
from control_plane.services.limits import CallLimits
from control_plane.services.reader import hand_over
from control_plane.services.status import DETAILS_KEY, failure_details, status_code, status_details, status_message

log = structlog.get_logger()

UNARY_SECONDS_MAX: Final = 30.0
"""How long a call may take whose caller sent no deadline."""

SLOW_SECONDS: Final = 1.0

# Any: gRPC types its handlers for the blocking server only, and each has its method's own messages.
Handler = Any
Context = aio.ServicerContext[Any, Any]
Shortcut = Callable[[bytes], bytes | None]
"""From a serialized request to a serialized response that is known to be current, or None."""

_OURS: Final = f"/{PACKAGE}."


class Gate(aio.ServerInterceptor):
    """Stands before every method of one port.

    `shortcuts` answers reads from memory, by method name; callers are authenticated and authorised first.
    """

    def __init__(
        self,
        *,
        port: Port,
        authenticator: Authenticator | None,
        clock: Clock,
        shortcuts: Mapping[str, Shortcut] | None = None,
        access_log: bool = False,
        traces: CallTraces | None = None,
    ) -> None:
        self._port = port
        self._traces = traces or CallTraces(clock)
        self._authenticator = authenticator
        self._clock = clock
        self._shortcuts = dict(shortcuts or {})
        self._access_log = access_log
        self._limits = CallLimits()
        self._wrapped: dict[str, Handler | None] = {}

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._limits.streams

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the wrapped handler of a method; None for a method that this port does not serve."""
        method = handler_call_details.method
        if method in self._wrapped:
            return self._wrapped[method]
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # not remembered: the names of methods that do not exist are unbounded
        self._wrapped[method] = wrapped = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler | None:
        if not method.startswith(_OURS):
            return self._limits.wrap_foreign(handler)
        rule = RULES.get(method)
        if rule is None or rule.port is not self._port:
            log.error("rpc.not_served", method=method, port=self._port.value, in_table=rule is not None)
            return None
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, rule, handler))
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._server_stream(method, rule, handler))
        return grpc.stream_stream_rpc_method_handler(
            self._both_stream(method, rule, handler), handler.request_deserializer, handler.response_serializer
        )

    def _unary(self, method: str, rule: Rule, handler: Handler) -> Callable[[bytes, Context], Awaitable[bytes]]:
        behaviour, serialize = handler.unary_unary, handler.response_serializer
        shortcut = self._shortcuts.get(method)

        async def call(raw: bytes, context: Context) -> bytes:
            started = self._clock.monotonic()
            caller = self._traces.begin(context.invocation_metadata() or ())
            failure = ""
            try:
                PRINCIPAL.set(self._known(rule, context) or await self._identify(rule, context))
                if shortcut is not None:
                    ready = shortcut(raw)
                    if ready is not None:
                        return ready
                request = _parse(raw, rule, handler)
                if context.time_remaining() is None:
                    async with asyncio.timeout(UNARY_SECONDS_MAX):
                        response = await behaviour(request, context)
                else:  # gRPC itself cancels the call at its deadline
                    response = await behaviour(request, context)
                serialized: bytes = serialize(response)
            except Exception as error:  # noqa: BLE001 - the caller must get a status for whatever went wrong
                failure = error.reason if isinstance(error, OrQuantaError) else type(error).__name__
                await _abort(context, method, error)
            else:
                return serialized
            finally:
                self._observe(method, started)
                self._traces.end(method, caller, self._clock.monotonic() - started, failure)

        return call

    def _server_stream(self, method: str, rule: Rule, handler: Handler) -> Callable[[bytes, Context], Awaitable[None]]:
        behaviour, serialize = handler.unary_stream, handler.response_serializer

        async def call(raw: bytes, context: Context) -> None:
            try:
                principal = self._known(rule, context) or await self._identify(rule, context)
                PRINCIPAL.set(principal)
                request = _parse(raw, rule, handler)
                checked_at = self._clock.monotonic()
                first = True
                with self._limits.stream_of(principal):
                    async with aclosing(behaviour(request, context)) as responses:
                        async for response in responses:
                            if self._clock.monotonic() - checked_at > FRESH_SECONDS:
                                await self._check_again(rule, principal)
                                checked_at = self._clock.monotonic()
                            await hand_over(context, serialize(response), first=first)
                            first = False
            except Exception as error:  # noqa: BLE001 - the caller must get a status for whatever went wrong
                await _abort(context, method, error)

        return call

    def _both_stream(
        self, method: str, rule: Rule, handler: Handler
    ) -> Callable[[AsyncIterator[Message], Context], Awaitable[None]]:
        behaviour = handler.stream_stream

        async def call(requests: AsyncIterator[Message], context: Context) -> None:
            try:
                principal = self._known(rule, context) or await self._identify(rule, context)
                PRINCIPAL.set(principal)
                first = True
                with self._limits.stream_of(principal):
                    async with aclosing(behaviour(requests, context)) as responses:
                        async for response in responses:
                            await hand_over(context, response, first=first)
                            first = False
            except Exception as error:  # noqa: BLE001 - the caller must get a status for whatever went wrong
                await _abort(context, method, error)

        return call

    def _known(self, rule: Rule, context: Context) -> Principal | None:
        """Return the caller if memory tells who it is, and if they may make this call."""
        if self._authenticator is None or not isinstance(rule.needs, Role):
            return None
        principal = self._authenticator.known(credential_of(context))
        if principal is not None:
            authorise(rule, principal)
        return principal

    async def _identify(self, rule: Rule, context: Context) -> Principal | NodePrincipal | None:
        """Return who makes this call, if they may; None for a method that is open to everybody."""
        if rule.needs is Special.PUBLIC:
            return None
        if rule.needs is Special.NODE:
            return node_of(context)
        if self._authenticator is None:
            raise Unauthenticated("this port serves nodes only", reason="WRONG_PORT")
        principal = await self._authenticator.authenticate(credential_of(context))
        authorise(rule, principal)
        return principal

    async def _check_again(self, rule: Rule, principal: Principal | NodePrincipal | None) -> None:
        """Refuse to go on with a stream whose caller was disabled or demoted, or whose key was revoked."""
        if self._authenticator is not None and isinstance(principal, Principal):
            authorise(rule, await self._authenticator.renewed(principal))

    def _observe(self, method: str, started: float) -> None:
        seconds = self._clock.monotonic() - started
        if seconds > SLOW_SECONDS:
            log.warning("rpc.slow", method=method, seconds=round(seconds, 3), **_caller_fields())
        elif self._access_log:
            log.debug("rpc.ended", method=method, seconds=round(seconds, 6), **_caller_fields())


def _parse(raw: bytes, rule: Rule, handler: Handler) -> Message:
    # gRPC's own bound lies above, so that the caller gets an error that says what to do.
    if len(raw) > rule.bytes_max:
        raise InvalidArgument(
            f"the request has {len(raw)} bytes; at most {rule.bytes_max} are allowed; shorten its texts",
            reason="REQUEST_TOO_LARGE",
        )
    try:
        request: Message = handler.request_deserializer(raw)
    except DecodeError:
        raise InvalidArgument(
            "the request is not a readable protobuf message; use the proto files of this server's version",
            reason="REQUEST_UNREADABLE",
        ) from None
    if rule.changes:
        _refuse_unknown_fields(request)
    return request


def _refuse_unknown_fields(request: Message) -> None:
    """A newer client's wish must not be dropped silently while the rest of its change is carried out."""
    size = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != size:
        raise InvalidArgument(
            "the request has fields that this server does not know, and a change must not be carried out in "
            "part: upgrade the server, or leave out what the newer client added",
            reason="FIELD_UNKNOWN",
        )


async def _abort(context: Context, method: str, error: Exception) -> NoReturn:
    """End the call with the status that fits the error."""
    if isinstance(error, aio.AbortError):
        raise error
    if isinstance(error, OrQuantaError):
        code, message, details = status_code(error), status_message(error), status_details(error)
    elif isinstance(error, TimeoutError):
        code = grpc.StatusCode.DEADLINE_EXCEEDED
        message = f"no answer within {UNARY_SECONDS_MAX:.0f} s; retry, with a deadline of your own"
        details = failure_details(code, message, "DEADLINE_EXCEEDED")
        log.warning("rpc.timed_out", method=method, **_caller_fields())
    else:
        error_id = secrets.token_hex(6)
        code = grpc.StatusCode.INTERNAL
        message = f"internal error; look for error_id={error_id} in the server's log"
        details = failure_details(code, message, "INTERNAL", {"error_id": error_id})
        log.error("rpc.failed", method=method, error_id=error_id, exc_info=error, **_caller_fields())
    await context.abort(code, message, trailing_metadata=((DETAILS_KEY, details),))
    raise AssertionError("abort always raises")


def _caller_fields() -> dict[str, str]:
    principal = PRINCIPAL.get()
    if isinstance(principal, Principal):
        return {"caller": principal.email, "credential_id": principal.credential_id}
    return {"node_id": principal.node_id} if isinstance(principal, NodePrincipal) else {}
