"""What agents think and do goes over the bus in order, once, as the bytes that gRPC sends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from control_plane.agents.run_announcer import RunAnnouncer
from control_plane.bus.client import Bus
from control_plane.bus.messages import Outgoing, Published
from control_plane.bus.run_messages import reasoning_event
from control_plane.errors import Unavailable
from control_plane.model.ids import RUN, derived_id
from control_plane.model.run import EventType
from control_plane.model.run_step import NewRun
from control_plane.store import run_events, runs
from control_plane.store.database import Store, Tx
from orquanta.v1 import agent_pb2

RUN_ID = derived_id(RUN, "one")


class Heard(Bus):
    """A bus that is away for a while at first, and remembers what it is told to publish."""

    def __init__(self, *, away: int = 0) -> None:
        self.away = away
        self.told: asyncio.Queue[tuple[str, bytes, str]] = asyncio.Queue()

    async def publish_events(self, messages: Sequence[Outgoing]) -> Published:
        if self.away:
            self.away -= 1
            return Published(0, Unavailable("the broker is away", reason="BUS_DISCONNECTED"))
        for one in messages:
            self.told.put_nowait((one.subject, one.data, one.message_id))
        return Published(len(messages))


@asynccontextmanager
async def announcing(store: Store, bus: Bus) -> AsyncIterator[None]:
    running = asyncio.ensure_future(RunAnnouncer(store, bus).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def tell(message: str) -> Callable[[Tx], None]:
    def write(tx: Tx) -> None:
        runs.insert(tx, NewRun(RUN_ID, "master_orchestrator", None, None, "rules"))
        run_events.append(tx, RUN_ID, EventType.TOOL_FINISHED, message, data={"n": 1}, evidence_ids=["fleet"])

    return write


async def test_events_come_in_order_as_the_bytes_of_the_stream(sqlite_store: Store) -> None:
    await sqlite_store.write(tell("before it began"))
    bus = Heard(away=1)
    async with announcing(sqlite_store, bus):
        async with asyncio.timeout(30):
            while not sqlite_store.changes._waiters:  # noqa: ASYNC110 - it begins to wait in a task of its own
                await asyncio.sleep(0.01)
        for number in range(3):
            await sqlite_store.write(tell(f"event {number}"))
        async with asyncio.timeout(30):
            told = [await bus.told.get() for _ in range(3)]
    events = await sqlite_store.read(lambda tx: run_events.of_run(tx, RUN_ID, after=1))
    assert [subject for subject, _, _ in told] == [f"orq.run.{RUN_ID}"] * 3
    assert [data for _, data, _ in told] == [reasoning_event(one).SerializeToString() for one in events]
    assert [name for _, _, name in told] == [f"{RUN_ID}-{number}" for number in (2, 3, 4)]
    parsed = agent_pb2.ReasoningEvent.FromString(told[0][1])
    assert (parsed.sequence, parsed.type, parsed.message) == (2, "tool.finished", "event 0")


async def test_a_database_that_is_away_for_a_moment_loses_nothing(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failures = sqlite_store.read, iter((True, True))

    async def failing(function: Callable[[Tx], object]) -> object:
        if next(failures, False):
            raise Unavailable("the server was restarted", reason="STORE_UNAVAILABLE")
        return await read(function)

    monkeypatch.setattr(sqlite_store, "read", failing)
    bus = Heard()
    async with announcing(sqlite_store, bus):
        async with asyncio.timeout(30):
            while not sqlite_store.changes._waiters:  # noqa: ASYNC110 - it begins to wait in a task of its own
                await asyncio.sleep(0.01)
        await sqlite_store.write(tell("after"))
        async with asyncio.timeout(30):
            assert (await bus.told.get())[0] == f"orq.run.{RUN_ID}"


async def test_one_event_that_cannot_be_a_message_is_left_out(sqlite_store: Store) -> None:
    bus = Heard()
    async with announcing(sqlite_store, bus), asyncio.timeout(30):
        await sqlite_store.write(tell("first"))
        first = await bus.told.get()

        def spoil(tx: Tx) -> None:
            run_events.append(tx, RUN_ID, EventType.TOOL_FINISHED, "spoilt", data={}, evidence_ids=[])
            tx.settle()
            tx.session.execute(text("PRAGMA foreign_keys=OFF"))
            tx.session.execute(text("UPDATE run_events SET run_id = 'no id' WHERE sequence = 2"))
            run_events.append(tx, RUN_ID, EventType.TOOL_FINISHED, "last", data={}, evidence_ids=[])

        await sqlite_store.write(spoil)
        assert (await bus.told.get())[0] == first[0]
    assert bus.told.empty()
