"""The one thread that writes: what waits at the same time shares a commit, each behind its own savepoint."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlmodel import Session

from control_plane.clock import Clock
from control_plane.errors import Unavailable
from control_plane.store import epochs
from control_plane.store.feed import News, numbered
from control_plane.store.transaction import DATABASE_AWAY, Emitted, Tx, domain_error, in_doubt, settle_before_statements

log = structlog.get_logger()

T = TypeVar("T")

_QUEUED_WRITES_MAX: Final = 10_000
_WRITES_PER_COMMIT_MAX: Final = 64
_LOOK_SECONDS: Final = 1.0
_WRITER_LOCK: Final = 7236002
_IDLE_MILLISECONDS: Final = 3_000
"""A control plane that is stopped in the middle of a commit (a debugger, a frozen machine) holds up those beside it
for this long; then PostgreSQL ends its transaction."""


@dataclass(slots=True)
class Fence:
    """An epoch, and whether a write was refused because a newer one is in force."""

    epoch: int
    passed: bool = False

    def check(self, in_force: int) -> None:
        """Raises Unavailable, CONTROL_PLANE_SUPERSEDED, unless this epoch is in force."""
        if in_force == self.epoch:
            return
        if not self.passed:
            self.passed = True
            log.error("store.superseded", own_epoch=self.epoch, epoch=in_force)
        raise epochs.superseded()


class Write(Generic[T]):
    """A queued write: its function, where its result goes, and the epoch that must be in force for it."""

    def __init__(self, function: Callable[[Tx], T], committed: Callable[[T], None] | None, fence: Fence | None) -> None:
        self.function = function
        self.committed = committed
        self.fence = fence
        self.future: Future[T] = Future()


class Writer:
    """Takes writes until it is closed. `committed` is called in the event loop with the events of each commit."""

    def __init__(
        self, engine: Engine, *, clock: Clock, newest: int, committed: Callable[[News], None], shared: bool
    ) -> None:
        """`newest` is the number of the newest event that is committed."""
        self._engine = engine
        self._clock = clock
        self._committed = committed
        self._shared = shared
        self._newest = newest
        self._in_doubt = False
        self._loop = asyncio.get_running_loop()
        self._writes: queue.Queue[Write[Any] | None] = queue.Queue(_QUEUED_WRITES_MAX)  # Any: results of all types
        self._thread = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        self._thread.start()

    def put(self, write: Write[Any]) -> None:  # Any: results of all types
        """Queue a write. Raises Unavailable when too many wait."""
        try:
            self._writes.put_nowait(write)
        except queue.Full:
            raise Unavailable(
                "the control plane is busy: too many writes wait; retry in a moment", reason="STORE_BUSY"
            ) from None

    def close(self) -> None:
        """Finish what is queued and end the thread; blocks."""
        self._writes.put(None)
        self._thread.join()

    def _write_loop(self) -> None:
        while True:
            try:
                first = self._writes.get(timeout=_LOOK_SECONDS if self._in_doubt else None)
            except queue.Empty:
                self._look()
                continue
            batch: list[Write[Any]] = []  # Any: results of all types
            stop = first is None
            if first is not None:
                batch.append(first)
                while len(batch) < _WRITES_PER_COMMIT_MAX:
                    try:
                        following = self._writes.get_nowait()
                    except queue.Empty:
                        break
                    if following is None:
                        stop = True
                        break
                    batch.append(following)
                self._commit(batch)
            if stop:
                return

    def _commit(self, batch: list[Write[Any]]) -> None:  # Any: results of all types
        """Run a batch in one transaction and answer every caller, whatever happens."""
        done: list[tuple[Write[Any], Any]] = []  # Any: results of all types
        news: News | None = None
        committing = False
        try:
            with (
                write_connection(self._engine) as connection,
                Session(connection, expire_on_commit=False) as session,
            ):
                lock(session, shared=self._shared)
                _remember_rows(session)
                settle_before_statements(session)
                done, emitted = self._run_all(session, batch)
                if emitted:
                    # Nobody else writes meanwhile, so the newest ones are of this commit.
                    news = numbered(session, self._newest, () if self._shared else emitted)
                committing = True
                session.commit()
                connection.commit()
                session.info.clear()  # or session and transaction would keep each other for the collector
        except Exception as error:  # noqa: BLE001 - every caller of the batch must get an answer
            failure = in_doubt(error) if committing else domain_error(error)
            for write in batch:
                if not write.future.done():
                    write.future.set_exception(failure)
            if committing:
                self._look()
            return
        for write, result in done:
            if write.committed is not None:
                self._loop.call_soon_threadsafe(write.committed, result)
        if news is not None:
            self._newest = news.newest
            self._loop.call_soon_threadsafe(self._committed, news)
        for write, result in done:
            write.future.set_result(result)

    def _look(self) -> None:
        """Tell of what a commit has written whose answer was lost; if that cannot be known yet, look again later."""
        try:
            with write_connection(self._engine) as connection, Session(connection) as session:
                lock(session, shared=self._shared)  # the database may still be at it
                found: int | None = session.connection().execute(text("SELECT max(sequence) FROM events")).scalar()
        except SQLAlchemyError as error:
            self._in_doubt = True
            log.warning("store.in_doubt", why=type(error).__name__)
            return
        self._in_doubt = False
        newest = found or 0
        if newest > self._newest:
            news, self._newest = News(self._newest, newest, None), newest
            self._loop.call_soon_threadsafe(self._committed, news)

    def _run_all(
        self, session: Session, batch: list[Write[Any]]
    ) -> tuple[list[tuple[Write[Any], Any]], list[Emitted]]:  # Any: as above
        """Return the writes that went well, with their results, and the events of them."""
        done: list[tuple[Write[Any], Any]] = []  # Any: results of all types
        emitted: list[Emitted] = []
        for write in batch:
            outcome = self._run(session, write)
            if outcome is not None:
                result, its_events = outcome
                done.append((write, result))
                emitted += its_events
        return done, emitted

    def _run(self, session: Session, write: Write[Any]) -> tuple[Any, list[Emitted]] | None:  # Any: of all types
        tx = Tx(session, self._clock.now(), writable=True)
        savepoint = session.begin_nested()
        try:
            if write.fence is not None:
                write.fence.check(epochs.current(session))
            result = write.function(tx)
            tx.settle()
            savepoint.commit()
        except Exception as error:
            # After trouble with the disk or the server the savepoint may be gone, and everybody's changes with it.
            if isinstance(error, OperationalError) or getattr(error, "reason", "") == DATABASE_AWAY:
                raise
            savepoint.rollback()
            session.expire_all()
            tx.undone()
            write.future.set_exception(domain_error(error) if isinstance(error, SQLAlchemyError) else error)
            return None
        return result, tx.emitted


def write_connection(engine: Engine) -> Any:  # Any: SQLAlchemy's own context manager of a Connection
    """Return a connection on which the next transaction may write."""
    connection = engine.connect()
    if engine.dialect.name == "sqlite":
        return connection.execution_options(sqlite_begin="IMMEDIATE")
    # Behind the advisory lock there is no other writer, so each statement may see the newest commit.
    return connection.execution_options(isolation_level="READ COMMITTED")


def lock(session: Session, *, shared: bool = False) -> None:
    """Keep other control planes' writers out until the commit.

    PostgreSQL gives the lock back after the commit has become visible: events appear in the order of their sequence
    numbers to everybody, whichever control plane wrote them.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        if shared:
            connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MILLISECONDS}"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})"))


def _remember_rows(session: Session) -> None:
    """Keep each row that is read until the commit: nobody else writes meanwhile, so it is never read twice."""
    rows: list[object] = []
    for moment in ("loaded_as_persistent", "pending_to_persistent"):
        event.listen(session, moment, lambda _session, row: rows.append(row))
