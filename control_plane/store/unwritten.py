"""What a transaction still has to write: columns that differ, rows that begin, and rows that nobody changes.

All of it waits and is written in bulk, which costs a fraction of what a session takes to follow each row.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, Final

from sqlalchemy import Update, and_, bindparam, inspect
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import Session, SQLModel

from control_plane.store.rows import columns
from control_plane.store.tables import Table

_UPDATES_MAX: Final = 256
"""Statements that are remembered: one for each set of columns that change together."""


class Unwritten:
    """What waits in one transaction. Rows are known by their identity, as they cannot be hashed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._changed: dict[int, tuple[SQLModel, dict[str, Any]]] = {}  # Any: a column's value
        self._begun: dict[int, SQLModel] = {}
        self._added: dict[type[Table], list[dict[str, Any]]] = {}  # Any: a column's value
        self._detached: list[SQLModel] = []
        self._attached: list[SQLModel] = []
        self._refused: Exception | None = None

    def change(self, row: SQLModel, values: Mapping[str, Any]) -> None:  # Any: a column's value
        """Set the columns that differ: most of a row stays as it is."""
        now = row.__dict__
        if not values.keys() <= now.keys():
            columns(row)  # what was undone is read again: what it differs from is in the database
        differing = {name: value for name, value in values.items() if name not in now or now[name] != value}
        now.update(differing)
        if differing and id(row) not in self._begun:
            self._changed.setdefault(id(row), (row, {}))[1].update(differing)

    def begin(self, row: SQLModel) -> None:
        """Take a row of `fresh`, which may change until it is written."""
        self._begun[id(row)] = row

    def add(self, table: type[Table], values: dict[str, Any]) -> None:  # Any: a column's value
        """Take a row that nobody changes in this transaction."""
        self._added.setdefault(table, []).append(values)

    def delete(self, row: SQLModel) -> None:
        """Delete a row, also one that is not written yet."""
        if self._begun.pop(id(row), None) is None:
            self.attach()
            columns(row)  # of what was undone the session would read the key again in the midst of its flush
            self._session.delete(row)

    def write_rows(self) -> None:
        """Write what changes, then what begins: one may take the place of what has ended or is deleted."""
        if self._refused is not None:
            raise self._refused
        self.write_changes()
        with self._remembering():
            self._session.flush()
            self._write_begun({type(row) for row in self._begun.values()})

    def write_added(self) -> None:
        """Write the rows that nobody changes."""
        added, self._added = self._added, {}
        with self._remembering():
            for table, rows in added.items():
                self._execute(_insert_of(table), rows)

    def write_changes(self) -> None:
        """Write the columns that differ, and before them what begins and they now refer to."""
        changed, self._changed = self._changed, {}
        rows_of: dict[tuple[type[SQLModel], tuple[str, ...]], list[dict[str, Any]]] = {}  # Any: a column's value
        with self._remembering():
            for row, values in changed.values():
                held = row.__dict__
                which = {f"of_{name}": held[name] for name in _keys(type(row))}
                rows_of.setdefault((type(row), tuple(values)), []).append(values | which)
            for (table, names), rows in sorted(rows_of.items(), key=lambda one: _depth(one[0][0])):
                if self._begun and (referred := _referred(table, names)):
                    self._write_begun({type(row) for row in self._begun.values() if _table(type(row)).name in referred})
                if self._execute(_update_of(table, names), rows) != len(rows):
                    raise StaleDataError(f"a row of {_table(table).name} that changes is not there any more")

    def _write_begun(self, tables: Iterable[type[SQLModel]]) -> None:
        for table in sorted(tables, key=_depth):
            rows = {key: row for key, row in self._begun.items() if type(row) is table}
            names = tuple(table.model_fields)
            self._execute(
                _insert_of(table), [{name: held[name] for name in names} for held in map(vars, rows.values())]
            )
            self._detached += rows.values()
            for key in rows:
                del self._begun[key]

    def hand_over(self) -> None:
        """Leave what begins to the session, as it is about to write what may refer to it, in the order that it finds.

        What takes the place of a row that it deletes stays: the session would take it for a change of that one.
        """
        gone = {(type(row), *(inspect(row).identity or ())) for row in self._session.deleted}
        staying = {key: row for key, row in self._begun.items() if gone and _identity(row) in gone}
        self._session.add_all([row for key, row in self._begun.items() if key not in staying])
        self._begun = staying

    def attach(self) -> None:
        """Have the session know the rows that were written here, as it is about to read such rows or to delete one."""
        if self._detached:
            for row in self._detached:
                make_transient_to_detached(row)
            self._session.add_all(self._detached)
            self._attached += self._detached
            self._detached.clear()

    def mark(self) -> int:
        """Have the session know all that is written; return what `clear` takes to undo what follows."""
        self.attach()
        return len(self._attached)

    def clear(self, mark: int = 0) -> None:
        """Forget all of it, as what it belongs to was undone; the session forgets the rows that began since `mark`."""
        for row in self._attached[mark:]:
            if row in self._session:
                self._session.expunge(row)
        del self._attached[mark:]
        self._changed.clear()
        self._begun.clear()
        self._added.clear()
        self._detached.clear()
        self._refused = None

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Raise again later what is raised inside: not all is written that was to be."""
        try:
            yield
        except Exception as error:
            self._refused = error
            raise

    def _execute(self, statement: Any, rows: list[dict[str, Any]]) -> int:  # Any: an INSERT or UPDATE; columns' values
        return int(self._session.connection().execute(statement, rows).rowcount)


def _table(of: type[SQLModel]) -> Any:  # Any: SQLModel adds it, and tells nobody
    return of.__table__  # type: ignore[attr-defined] # SQLModel adds it


@cache
def _insert_of(table: type[SQLModel]) -> Any:  # Any: an INSERT
    return _table(table).insert()


@lru_cache(_UPDATES_MAX)
def _update_of(table: type[SQLModel], names: tuple[str, ...]) -> Update:
    found = _table(table)
    which = and_(*(column == bindparam(f"of_{column.name}") for column in found.primary_key))
    statement: Update = found.update().where(which).values({name: bindparam(name) for name in names})
    return statement


@cache
def _keys(table: type[SQLModel]) -> tuple[str, ...]:
    return tuple(column.name for column in _table(table).primary_key)


def _identity(row: SQLModel) -> tuple[object, ...]:
    return type(row), *(getattr(row, name) for name in _keys(type(row)))


@cache
def _depth(table: type[SQLModel]) -> int:
    """Return where a table stands among all: behind those that its rows refer to."""
    return table.metadata.sorted_tables.index(_table(table))


@cache
def _referred(table: type[SQLModel], names: tuple[str, ...]) -> frozenset[str]:
    """Return the tables that these columns refer to."""
    held = _table(table).columns
    return frozenset(key.column.table.name for name in names for key in held[name].foreign_keys)
