"""The traces of calls: which one a call is in, how long it took, and what it submitted."""

import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta

import structlog

from control_plane.clock import Clock
from control_plane.services.caller import TRACE
from control_plane.store import traces
from control_plane.store.database import Store
from control_plane.tracing.outbox import Outbox
from control_plane.tracing.span import Span
from orquanta.tracing import HEADER, TraceContext

log = structlog.get_logger()

Called = Callable[[str, float, str], None]
Metadata = Iterable[tuple[str, str | bytes]]


class CallTraces:
    """Follows calls. Without an outbox nothing is told of, and callers' contexts are handed on all the same."""

    def __init__(self, clock: Clock, outbox: Outbox | None = None, called: Called | None = None) -> None:
        """`called` is told of each call: its method, how many seconds it took, why it failed ("" if it did not)."""
        self._clock = clock
        self._outbox = outbox
        self._called = called

    def begin(self, metadata: Metadata) -> TraceContext | None:
        """Enter the call's span; return its caller's context, None if they sent none."""
        sent = next((value for key, value in metadata if key == HEADER), None)
        caller = TraceContext.parse(sent) if isinstance(sent, str) else None
        if caller is not None:
            TRACE.set(TraceContext(caller.trace_id, secrets.token_hex(8), caller.sampled))
        elif self._outbox is not None:
            TRACE.set(TraceContext(secrets.token_hex(16), secrets.token_hex(8)))
        return caller

    def end(self, method: str, caller: TraceContext | None, seconds: float, error: str) -> None:
        """Tell of a call that has ended."""
        if self._called is not None:
            self._called(method, seconds, error)
        context = TRACE.get()
        if self._outbox is None or context is None:
            return
        now = self._clock.now()
        attributes = {"rpc.system": "grpc", "rpc.method": method.lstrip("/")}
        parent = "" if caller is None else caller.span_id
        name = method.rpartition(".")[2]
        self._outbox.put(
            Span(name, context, parent, now - timedelta(seconds=seconds), now, attributes, error, serves=True)
        )


async def remember(store: Store, item_id: str) -> None:
    """Note that a goal or a job is submitted in the present call's trace; before it is, for it may start at once.

    Nothing that goes wrong here keeps it from being submitted.
    """
    context = TRACE.get()
    if context is None:
        return
    try:
        await store.write(lambda tx: traces.remember(tx, item_id, context))
    except Exception as error:  # noqa: BLE001 - whatever it is, the goal or job is there
        log.warning("tracing.not_remembered", id=item_id, error=f"{type(error).__name__}: {error}")
