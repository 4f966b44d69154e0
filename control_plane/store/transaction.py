"""A transaction as the store's modules see it, and what the database's errors mean to callers."""

import sqlite3
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

import structlog
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import ORMExecuteState
from sqlmodel import Session, SQLModel

from control_plane.errors import Conflict, OrQuantaError, Unavailable
from control_plane.model.record import Noun
from control_plane.store.tables import EventRow, Table
from control_plane.store.unwritten import Unwritten

log = structlog.get_logger()

T = TypeVar("T")
R = TypeVar("R", bound=SQLModel)

Emitted: TypeAlias = tuple[Noun, str, str, str, str, datetime]
"""What an event is made of, without its number; in the order of `Event`."""

DATABASE_AWAY: Final = "STORE_UNAVAILABLE"
_CURRENT: Final = "transaction"


class Inseparable(Exception):
    """Something failed in a transaction that is undone as a whole or not at all; see `Tx.together`."""


class Tx:
    """A transaction. `session` is for the store's own modules; others use their functions.

    What is only added to waits, and is written in bulk before the next statement or at the end; what was read for many
    things at once is remembered, so that each of them costs no statement. Both belong to the store's modules.
    """

    def __init__(self, session: Session, now: datetime, *, writable: bool) -> None:
        self.session = session
        self.now = now
        self.writable = writable
        self.emitted: list[Emitted] = []
        """The events of it that are written and have not been undone, in their order."""
        self._telling: dict[tuple[str, str], Emitted] = {}
        self._unwritten = Unwritten(session)
        self._rows: dict[tuple[type[SQLModel], str], Any] = {}  # Any: the row, of that type
        self._known: dict[Hashable, Any] = {}  # Any: whatever belongs to the key
        self._together = False
        session.info[_CURRENT] = self

    def emit(self, noun: Noun, item_id: str, kind: str, message: str, *, parent_id: str = "") -> None:
        """Append an event that becomes visible with the transaction's commit.

        What is said again of the same thing before it is written is told once, in its last words and at its last place.
        """
        key = (item_id, kind)  # a kind begins with its noun
        self._telling.pop(key, None)
        self._telling[key] = (noun, item_id, parent_id, kind, message, self.now)

    def later(self, table: type[Table], values: dict[str, Any]) -> None:  # Any: a column's value
        """Add a row that nobody changes in this transaction. All rows of a table name the same columns."""
        self._unwritten.add(table, values)

    def change(self, row: SQLModel, values: Mapping[str, Any]) -> None:  # Any: a column's value
        """Set columns of a row that was read or added here; the session takes no notice of it."""
        self._unwritten.change(row, values)

    def settle(self) -> None:
        """Write all that waits. Raises what the database raises, and again from then on.

        Some of it may be written and some of it is not: whoever takes no notice of the error must not commit that.
        """
        self._unwritten.write_rows()
        for told in self._telling.values():
            self.emitted.append(told)
            self.later(EventRow, _event_row(told))
        self._telling.clear()
        self._unwritten.write_added()

    def before_statement(self) -> None:
        """Have the session's next statement see all that waits."""
        self.settle()
        self._unwritten.attach()

    def before_flush(self) -> None:
        """Have the session write its own rows among those that wait."""
        self._unwritten.write_changes()
        if self.session.new:
            self._unwritten.hand_over()

    def undone(self) -> None:
        """Have the session forget the rows that began here, as all of the transaction was undone."""
        self._unwritten.clear()

    def row(self, table: type[R], key: str) -> R | None:
        """Return the row with this key, also one that is not written yet. For tables whose rows nobody deletes here."""
        found: R | None = self._rows.get((table, key))
        if found is None:
            found = self.session.get(table, key)
            if found is not None:
                self._rows[table, key] = found
        return found

    def keep(self, row: SQLModel, key: str) -> None:
        """Have `row` find at once a row that was just read."""
        self._rows[type(row), key] = row

    def add(self, row: SQLModel, key: str = "") -> None:
        """Add a row of `fresh`; with its key, `row` finds it at once. What changes of it is said with `change`."""
        self._unwritten.begin(row)
        if key:
            self._rows[type(row), key] = row

    def delete(self, row: SQLModel) -> None:
        """Delete a row that was read or added here."""
        self._unwritten.delete(row)

    def know(self, key: Hashable, value: Any) -> None:  # Any: whatever belongs to the key
        """Remember something. Whoever changes it in this transaction keeps it true, or forgets it."""
        self._known[key] = value

    def known(self, key: Hashable) -> Any:  # Any: whatever belongs to the key
        """Return what is remembered, or None."""
        return self._known.get(key)

    def parsed(self, key: Hashable, source: object, parse: Callable[[Any], T]) -> T:  # Any: what the source is
        """Return what a column's value says, parsed once for as long as that very value is there."""
        known: tuple[object, T] | None = self._known.get(key)
        if known is None or known[0] is not source:
            known = self._known[key] = (source, parse(source))
        return known[1]

    def forget(self, key: Hashable) -> None:
        """Remember something no longer."""
        self._known.pop(key, None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Spare the savepoints inside: what fails there cannot be undone alone, so all of the transaction must be.

        Raises Inseparable then.
        """
        self._together = True
        try:
            yield
        finally:
            self._together = False

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done inside if it raises, and let the rest of the transaction go on.

        Raises Conflict when the database refuses what was done inside, Unavailable when it is away, and Inseparable
        inside of `together`.
        """
        if self._together:
            try:
                yield
            except Exception as error:
                raise Inseparable(f"{type(error).__name__}: {error}") from error
            return
        self.settle()
        mark = self._unwritten.mark()
        emitted = len(self.emitted)
        nested = self.session.begin_nested()
        try:
            yield
            self.settle()
        except BaseException as error:
            try:
                nested.rollback()
            except SQLAlchemyError as trouble:
                raise unavailable(trouble) from error
            self.session.expire_all()
            self._unwritten.clear(mark)
            self._telling.clear()
            del self.emitted[emitted:]
            self._rows.clear()
            self._known.clear()
            if isinstance(error, SQLAlchemyError):
                raise domain_error(error) from error
            raise
        nested.commit()


def _event_row(told: Emitted) -> dict[str, Any]:  # Any: a column's value
    noun, item_id, parent_id, kind, message, at = told
    return {
        "noun": noun.value,
        "id": item_id,
        "parent_id": parent_id,
        "kind": kind,
        "message": message,
        "created_at": at,
    }


def settle_before_statements(session: Session) -> None:
    """Have what waits in a session's transaction written before each of its statements, so that they see it."""

    def before_statement(statement: ORMExecuteState) -> None:
        tx: Tx | None = statement.session.info.get(_CURRENT)
        if tx is not None:
            tx.before_statement()

    def before_flush(flushed: Session, *_: object) -> None:
        tx: Tx | None = flushed.info.get(_CURRENT)
        if tx is not None:
            tx.before_flush()

    event.listen(session, "do_orm_execute", before_statement)
    event.listen(session, "before_flush", before_flush)


def domain_error(error: Exception) -> OrQuantaError:
    """Return what an error of the database means to callers."""
    if isinstance(error, OrQuantaError):
        return error
    if isinstance(error, IntegrityError):
        return Conflict(
            f"the database refused the change, because something else was there first ({_detail(error)}); read again "
            "and retry",
        )
    return unavailable(error)


def _detail(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def in_doubt(error: Exception) -> OrQuantaError:
    """Return what an error of a commit means to callers: its answer may be lost, and only that."""
    if isinstance(error, IntegrityError) or _is_full(error):
        return domain_error(error)
    log.error("store.commit_failed", error=_detail(error))
    return Unavailable(
        f"the database failed while it took the change ({_detail(error)}); whether the change was made is not known: "
        "look before you retry",
        reason=DATABASE_AWAY,
    )


def _is_full(error: Exception) -> bool:
    """Tell whether SQLite found no room on the disk: then it has surely written nothing."""
    return getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def unavailable(error: Exception) -> Unavailable:
    """Return the error for a database that cannot be used, and log it."""
    log.error("store.failed", error=_detail(error))
    return Unavailable(
        f"the database cannot be used ({_detail(error)}); nothing was changed; check its disk and its server, then "
        "retry",
        reason=DATABASE_AWAY,
    )
