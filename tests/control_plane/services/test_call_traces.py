"""The traces of calls, and that they stand in nobody's way."""

from control_plane.services import call_traces
from control_plane.services.caller import TRACE
from control_plane.store import traces
from control_plane.store.database import Store
from orquanta.tracing import TraceContext

CONTEXT = TraceContext("ab" * 16, "cd" * 8)


async def test_the_trace_of_what_was_submitted_is_remembered_once(sqlite_store: Store) -> None:
    TRACE.set(CONTEXT)
    await call_traces.remember(sqlite_store, "j-1")
    TRACE.set(TraceContext("12" * 16, "34" * 8))
    await call_traces.remember(sqlite_store, "j-1")
    assert await sqlite_store.read(lambda tx: traces.caller(tx, "j-1")) == CONTEXT


async def test_a_submission_does_not_fail_for_its_trace(sqlite_store: Store) -> None:
    TRACE.set(CONTEXT)
    await sqlite_store.close()
    await call_traces.remember(sqlite_store, "j-1")
