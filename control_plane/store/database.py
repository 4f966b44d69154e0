"""The store: reads in parallel, writes one after another, both in worker threads.

Callers pass plain functions on a transaction, so nothing can await while a transaction is open. Writes that
wait at the same time share one commit, each behind its own savepoint: a failing one undoes only itself.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlmodel import Session

from control_plane.clock import Clock
from control_plane.errors import Conflict, OrQuantaError, Unavailable
from control_plane.model.record import Noun
from control_plane.store.changes import Changes
from control_plane.store.engine import migrate, open_engine
from control_plane.store.tables import ControlRow, EventRow

log = structlog.get_logger()

T = TypeVar("T")

_READERS = 4
_QUEUED_WRITES_MAX = 10_000
_WRITES_PER_COMMIT_MAX = 64
_EPOCH_KEY = "control_epoch"
_WRITER_LOCK = 7236002
_DATABASE_AWAY = "STORE_UNAVAILABLE"


class Tx:
    """A transaction. `session` is for the store's own modules; others use their functions."""

    def __init__(self, session: Session, now: datetime, *, writable: bool) -> None:
        self.session = session
        self.now = now
        self.writable = writable
        self.events: list[EventRow] = []

    def emit(self, noun: Noun, item_id: str, kind: str, message: str, *, parent_id: str = "") -> None:
        """Append an event that becomes visible with the transaction's commit."""
        row = EventRow(
            noun=noun.value, id=item_id, parent_id=parent_id, kind=kind, message=message, created_at=self.now
        )
        self.session.add(row)
        self.events.append(row)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done inside if it raises, and let the rest of the transaction go on.

        Raises Conflict when the database refuses what was done inside, and Unavailable when it is away.
        """
        events = len(self.events)
        self.session.flush()
        nested = self.session.begin_nested()
        try:
            yield
            self.session.flush()
        except BaseException as error:
            try:
                nested.rollback()
            except SQLAlchemyError as trouble:
                raise _unavailable(trouble) from error
            self.session.expire_all()
            del self.events[events:]
            if isinstance(error, SQLAlchemyError):
                raise _domain_error(error) from error
            raise
        nested.commit()


class _Write(Generic[T]):
    """A queued write: its function and where its result goes."""

    def __init__(self, function: Callable[[Tx], T], committed: Callable[[T], None] | None) -> None:
        self.function = function
        self.committed = committed
        self.future: Future[T] = Future()


class Store:
    """The one way to the database."""

    def __init__(self, engine: Engine, *, clock: Clock, control_epoch: int, newest_event: int) -> None:
        self._engine = engine
        self._clock = clock
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self._writes: queue.Queue[_Write[Any] | None] = queue.Queue(_QUEUED_WRITES_MAX)  # Any: results of all types
        self._writer = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._superseded = False
        self._closed = False
        self.control_epoch = control_epoch
        self.changes = Changes(newest_event)
        self._writer.start()

    @classmethod
    async def open(cls, url: str, *, clock: Clock) -> "Store":
        """Migrate the database and take the next control epoch, which shuts out older control planes.

        An epoch is at least the time, in seconds since 1970: hosts obey a database that was restored from a backup,
        though control planes with higher numbers than the backup's have spoken to them since.
        Raises InvalidArgument for a bad URL and Unavailable when the database cannot be used.
        """

        def prepare() -> tuple[Engine, int, int]:
            engine = None
            try:
                engine = open_engine(url)
                migrate(engine)
                with _write_connection(engine) as connection, Session(connection) as session:
                    _lock(session)
                    row = session.get(ControlRow, _EPOCH_KEY) or ControlRow(key=_EPOCH_KEY, value="0")
                    row.value = str(max(int(row.value) + 1, int(clock.now().timestamp())))
                    row.changed_at = clock.now()
                    session.add(row)
                    newest: int | None = session.connection().execute(text("SELECT max(sequence) FROM events")).scalar()
                    epoch = int(row.value)
                    session.commit()
                    connection.commit()
            except (SQLAlchemyError, OSError) as error:
                if engine is not None:
                    engine.dispose()
                raise _unavailable(error) from error
            return engine, epoch, newest or 0

        engine, epoch, newest = await asyncio.to_thread(prepare)
        return cls(engine, clock=clock, control_epoch=epoch, newest_event=newest)

    @property
    def clock(self) -> Clock:
        """The clock that stamps what is written."""
        return self._clock

    @property
    def dialect(self) -> str:
        """Either "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Run `function` on a consistent snapshot. Raises Unavailable when the database is away."""
        self._refuse_if_closed()
        return await self._loop.run_in_executor(self._readers, self._read, function)

    def _read(self, function: Callable[[Tx], T]) -> T:
        try:
            with Session(self._engine, autoflush=False, expire_on_commit=False) as session:
                return function(Tx(session, self._clock.now(), writable=False))
        except SQLAlchemyError as error:
            raise _domain_error(error) from error

    async def confirm(self) -> None:
        """Look whether this control plane is still the one in charge.

        Raises Unavailable: CONTROL_PLANE_SUPERSEDED when it is not, another reason when that cannot be told now.
        """
        await self.read(lambda tx: self._refuse_if_superseded(tx.session))

    async def write(self, function: Callable[[Tx], T], *, committed: Callable[[T], None] | None = None) -> T:
        """Run `function` alone and commit; when this returns, the change is durable.

        `committed` is called in the event loop with the result as soon as it is durable, before anybody hears of the
        change: for what somebody waits for. It must not raise.

        An error raised by `function` undoes its changes and is raised here. Raises Conflict when the database
        refuses a change, and Unavailable when it is away, too many writes wait, the store is closed, or another
        control plane has taken over; then nothing was changed.
        """
        self._refuse_if_closed()
        write = _Write(function, committed)
        try:
            self._writes.put_nowait(write)
        except queue.Full:
            raise Unavailable(
                "the control plane is busy: too many writes wait; retry in a moment", reason="STORE_BUSY"
            ) from None
        # A caller that goes away must not undo a write that may already be committed.
        return await asyncio.shield(asyncio.wrap_future(write.future))

    async def close(self) -> None:
        """Finish queued writes and close every connection; what comes later is refused."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writes.put, None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        self.changes.close()
        self._engine.dispose()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Unavailable("the control plane is shutting down; reconnect", reason="SHUTTING_DOWN")

    def _write_loop(self) -> None:
        while True:
            first = self._writes.get()
            batch: list[_Write[Any]] = []  # Any: results of all types
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

    def _commit(self, batch: list[_Write[Any]]) -> None:  # Any: results of all types
        """Run a batch in one transaction and answer every caller, whatever happens."""
        done: list[tuple[_Write[Any], Any]] = []  # Any: results of all types
        newest = 0
        try:
            with (
                _write_connection(self._engine) as connection,
                Session(connection, expire_on_commit=False) as session,
            ):
                _lock(session)
                _remember_rows(session)
                self._refuse_if_superseded(session)
                for write in batch:
                    outcome = self._run(session, write)
                    if outcome is not None:
                        result, sequence = outcome
                        done.append((write, result))
                        newest = max(newest, sequence)
                session.commit()
                connection.commit()
        except Exception as error:  # noqa: BLE001 - every caller of the batch must get an answer
            failure = _domain_error(error)
            for write in batch:
                if not write.future.done():
                    write.future.set_exception(failure)
            return
        for write, result in done:
            if write.committed is not None:
                self._loop.call_soon_threadsafe(write.committed, result)
        if newest:
            self._loop.call_soon_threadsafe(self.changes.advance, newest)
        for write, result in done:
            write.future.set_result(result)

    def _run(self, session: Session, write: _Write[Any]) -> tuple[Any, int] | None:  # Any: results of all types
        tx = Tx(session, self._clock.now(), writable=True)
        savepoint = session.begin_nested()
        try:
            result = write.function(tx)
            session.flush()
            savepoint.commit()
        except Exception as error:
            # After trouble with the disk or the server the savepoint may be gone, and everybody's changes with it.
            if isinstance(error, OperationalError) or getattr(error, "reason", "") == _DATABASE_AWAY:
                raise
            savepoint.rollback()
            session.expire_all()
            write.future.set_exception(_domain_error(error) if isinstance(error, SQLAlchemyError) else error)
            return None
        return result, max((row.sequence or 0 for row in tx.events), default=0)

    def _refuse_if_superseded(self, session: Session) -> None:
        row = session.get(ControlRow, _EPOCH_KEY, populate_existing=True)
        if row is None or int(row.value) != self.control_epoch:
            if not self._superseded:
                self._superseded = True
                log.error("store.superseded", own_epoch=self.control_epoch, epoch=row.value if row else None)
            raise Unavailable(
                "another control plane has taken over this database; use that one, or stop it and restart this one",
                reason="CONTROL_PLANE_SUPERSEDED",
            )


def _write_connection(engine: Engine) -> Any:  # Any: SQLAlchemy's own context manager of a Connection
    connection = engine.connect()
    if engine.dialect.name == "sqlite":
        return connection.execution_options(sqlite_begin="IMMEDIATE")
    # Behind the advisory lock there is no other writer, so each statement may see the newest commit.
    return connection.execution_options(isolation_level="READ COMMITTED")


def _remember_rows(session: Session) -> None:
    """Keep each row that is read until the commit: nobody else writes meanwhile, so it is never read twice."""
    rows: list[object] = []
    for moment in ("loaded_as_persistent", "pending_to_persistent"):
        event.listen(session, moment, lambda _session, row: rows.append(row))


def _lock(session: Session) -> None:
    """Keep other control planes' writers out until the commit."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})"))


def _domain_error(error: Exception) -> OrQuantaError:
    if isinstance(error, OrQuantaError):
        return error
    if isinstance(error, IntegrityError):
        return Conflict(
            f"the database refused the change, because something else was there first ({_detail(error)}); read again "
            "and retry",
        )
    return _unavailable(error)


def _detail(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _unavailable(error: Exception) -> Unavailable:
    log.error("store.failed", error=_detail(error))
    return Unavailable(
        f"the database cannot be used ({_detail(error)}); nothing was changed; check its disk and its server, then "
        "retry",
        reason=_DATABASE_AWAY,
    )
