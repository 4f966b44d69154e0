"""The store: reads in parallel, writes one after another, both in worker threads.

Callers pass plain functions on a transaction, so nothing can await while a transaction is open.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from control_plane.clock import Clock
from control_plane.errors import Unavailable
from control_plane.model.record import Noun
from control_plane.store import epochs
from control_plane.store.changes import Changes
from control_plane.store.engine import migrate, open_engine
from control_plane.store.feed import EventFeed, News
from control_plane.store.transaction import Tx, domain_error, unavailable
from control_plane.store.writer import Fence, Write, Writer, lock, write_connection

__all__ = ["Store", "Tx"]

T = TypeVar("T")

_READERS: Final = 4


class _Database:
    """What all handles of one store share: connections, threads, the newest events and who waits for changes."""

    def __init__(self, engine: Engine, *, clock: Clock, newest_event: int, shared: bool) -> None:
        self.engine = engine
        self.clock = clock
        self.readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self.changes = Changes(newest_event)
        self.feed = EventFeed(self.changes, self.read)
        self.hooks: list[Callable[[int], None]] = []
        self.shared = shared
        self.closed = False
        self.loop = asyncio.get_running_loop()
        self.writer = Writer(engine, clock=clock, newest=newest_event, committed=self._committed, shared=shared)

    def _committed(self, news: News) -> None:
        self.feed.take(news)
        self.changes.advance(news.newest)
        for hook in self.hooks:
            hook(news.newest)

    async def read(self, function: Callable[[Tx], T]) -> T:
        self.refuse_if_closed()
        return await self.loop.run_in_executor(self.readers, self._read, function)

    def _read(self, function: Callable[[Tx], T]) -> T:
        try:
            with Session(self.engine, autoflush=False, expire_on_commit=False) as session:
                try:
                    return function(Tx(session, self.clock.now(), writable=False))
                finally:
                    session.info.clear()  # or the two would keep each other, and all rows, for the collector
        except SQLAlchemyError as error:
            raise domain_error(error) from error

    def refuse_if_closed(self) -> None:
        if self.closed:
            raise Unavailable("the control plane is shutting down; reconnect", reason="SHUTTING_DOWN")


class Store:
    """The one way to the database.

    With an epoch (`control_epoch` is not 0), nothing is written once a newer one is in force. A store that several
    control planes share has none: each of them may write what people and hosts say, and what the leader's agents decide
    goes through the handle that `of_epoch` gives.
    """

    def __init__(self, database: _Database, fence: Fence | None) -> None:
        self._database = database
        self._fence = fence
        self._engine = database.engine
        self.changes = database.changes
        self.feed = database.feed

    @classmethod
    async def open(cls, url: str, *, clock: Clock, shared: bool = False) -> "Store":
        """Migrate the database and take the next control epoch, which shuts out older control planes.

        With `shared` no epoch is taken, and nobody is shut out. Raises InvalidArgument for a bad URL and Unavailable
        when the database cannot be used.
        """

        def prepare() -> tuple[Engine, int, int]:
            engine = None
            epoch = 0
            try:
                engine = open_engine(url)
                migrate(engine)
                with write_connection(engine) as connection, Session(connection) as session:
                    lock(session, shared=shared)
                    if not shared:
                        epoch = epochs.take(session, clock.now())
                    newest: int | None = session.connection().execute(text("SELECT max(sequence) FROM events")).scalar()
                    session.commit()
                    connection.commit()
            except (SQLAlchemyError, OSError) as error:
                if engine is not None:
                    engine.dispose()
                raise unavailable(error) from error
            return engine, epoch, newest or 0

        engine, epoch, newest = await asyncio.to_thread(prepare)
        database = _Database(engine, clock=clock, newest_event=newest, shared=shared)
        return cls(database, None if shared else Fence(epoch))

    def of_epoch(self, epoch: int) -> "Store":
        """Return a handle on the same database whose writes are refused once this epoch is not in force."""
        return Store(self._database, Fence(epoch))

    async def take_epoch(self, by: str, *, allowed: Callable[[], bool]) -> int:
        """Make the next epoch the one in force and return it. Raises Unavailable, also when not `allowed` by then."""

        def take(tx: Tx) -> int:
            if not allowed():
                raise epochs.superseded()
            epoch = epochs.take(tx.session, tx.now, by=by)
            tx.emit(Noun.AGENT, by, epochs.LEADER_CHANGED, f"{by} leads under epoch {epoch}")
            return epoch

        return await self.write(take)

    @property
    def clock(self) -> Clock:
        """The clock that stamps what is written."""
        return self._database.clock

    @property
    def dialect(self) -> str:
        """Either "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    @property
    def control_epoch(self) -> int:
        """The epoch of this handle; 0 if it has none."""
        return 0 if self._fence is None else self._fence.epoch

    @property
    def shared(self) -> bool:
        """Whether other control planes write to the database as well."""
        return self._database.shared

    @property
    def superseded(self) -> bool:
        """Whether something was refused because a newer epoch than this handle's is in force."""
        return self._fence is not None and self._fence.passed

    def epoch_of_orders(self, tx: Tx) -> int:
        """Return the epoch under which orders read in this transaction are given.

        It is this handle's own, or, where several control planes share the database, the one in force.
        """
        return epochs.in_force(tx.session)[0] if self._fence is None else self._fence.epoch

    def on_commit(self, hook: Callable[[int], None]) -> None:
        """Have `hook` called in the event loop with the newest event's sequence after each commit of this process."""
        self._database.hooks.append(hook)

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Run `function` on a consistent snapshot. Raises Unavailable when the database is away."""
        return await self._database.read(function)

    async def confirm(self) -> None:
        """Look whether this control plane is still the one in charge; without an epoch, whether the database answers.

        Raises Unavailable: CONTROL_PLANE_SUPERSEDED when it is not, another reason when that cannot be told now.
        """

        def look(tx: Tx) -> None:
            epoch, _, _ = epochs.in_force(tx.session)
            if self._fence is not None:
                self._fence.check(epoch)

        await self.read(look)

    async def leadership(self) -> tuple[int, str, datetime | None]:
        """Return the epoch in force, the name of the control plane that took it ("" if it has none), and when."""
        return await self.read(lambda tx: epochs.in_force(tx.session))

    async def newest_event(self) -> int:
        """Return the sequence number of the newest event in the database, whoever wrote it."""

        def look(tx: Tx) -> int:
            newest: int | None = tx.session.connection().execute(text("SELECT max(sequence) FROM events")).scalar()
            return newest or 0

        return await self.read(look)

    async def write(self, function: Callable[[Tx], T], *, committed: Callable[[T], None] | None = None) -> T:
        """Run `function` alone and commit; when this returns, the change is durable.

        `committed` is called in the event loop with the result as soon as it is durable, before anybody hears of the
        change: for what somebody waits for. It must not raise.

        An error raised by `function` undoes its changes and is raised here. Raises Conflict when the database
        refuses a change, and Unavailable when it is away, too many writes wait, the store is closed, or another
        control plane has taken over; then nothing was changed.
        """
        self._database.refuse_if_closed()
        write = Write(function, committed, self._fence)
        self._database.writer.put(write)
        # A caller that goes away must not undo a write that may already be committed.
        done = asyncio.wrap_future(write.future)
        done.add_done_callback(_heed)
        return await asyncio.shield(done)

    async def close(self) -> None:
        """Finish queued writes and close every connection, of all handles; what comes later is refused."""
        database = self._database
        if database.closed:
            return
        database.closed = True
        await asyncio.to_thread(database.writer.close)
        await asyncio.to_thread(database.readers.shutdown)
        database.changes.close()
        database.engine.dispose()


def _heed(done: asyncio.Future[T]) -> None:
    """Take note of how a write went whose caller has gone away: an error that nobody looks at is logged as a bug."""
    if not done.cancelled():
        done.exception()
