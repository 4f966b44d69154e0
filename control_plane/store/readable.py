"""Rows that cannot be read: a later version has written them, or they are damaged.

There is one way to deal with them. Who reads one thing is told that it cannot be read. Who reads many of them, in a
loop or for a list, gets those that can be read: `readable` leaves out the others and says so in the log. What decides
whether something may be done at all never leaves anything out: it fails, for this one thing.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

import pydantic_core
import structlog
from sqlalchemy import ColumnElement, String, case, cast, func

from control_plane.errors import PreconditionFailed
from control_plane.store.transaction import Tx

log = structlog.get_logger()

K = TypeVar("K")
S = TypeVar("S")
T = TypeVar("T")

UNREADABLE: Final = "RECORD_UNREADABLE"
_TOLD_MAX: Final = 1_024
"""Rows of which the log is known to have told in this hour."""
_WHY_MAX: Final = 300
_ENCODER: Final = json.JSONEncoder()


class Unreadable(PreconditionFailed):
    """A column does not hold what this version can read."""

    default_reason = UNREADABLE

    def __init__(self, what: str, why: str) -> None:
        super().__init__(
            f"{what} cannot be read by this control plane: {why[:_WHY_MAX]}; a later version has written it, or it is "
            "damaged: run the later version, or restore the database from a backup"
        )


class NotJson:
    """Stands for the value of a JSON column that holds no JSON. Nothing can be done with it."""


BROKEN: Final = (Unreadable, ValueError, KeyError, TypeError, AttributeError)
"""What comes of reading a row that holds something else than it should."""


def to_json(value: object) -> str:
    """Return what a JSON column holds of a value; a good part of all such columns is an empty list."""
    return "[]" if value == [] else _ENCODER.encode(value)


def from_json(text: str) -> object:
    """Return what a JSON column says; `NotJson` in its place, so that one broken row is not the trouble of others."""
    try:
        return pydantic_core.from_json(text)
    except ValueError:
        pass  # it reads no halves of surrogate pairs, and nothing that is nested very deep
    try:
        return json.loads(text)
    except ValueError:
        return NotJson()


def readable(tx: Tx, found: Iterable[S], read: Callable[[S], T], what: str = "") -> list[T]:
    """Return what `read` makes of each that it can make something of; of the others the log tells, once an hour.

    `what` says for the log what they are; the table and the key of a row need not be said.
    """
    made: list[T] = []
    for one in found:
        try:
            made.append(read(one))
        except BROKEN as error:
            set_aside(tx, what or _name(one), error)
    return made


def read_each(tx: Tx, keys: Collection[K], load: Callable[[Sequence[K]], Mapping[K, T]], what: str) -> Mapping[K, T]:
    """Return what is read for these keys: of all at once, or, if one of them cannot be read, of each alone."""
    try:
        return load(list(keys))
    except BROKEN:
        return {key: value for part in readable(tx, keys, lambda key: load([key]), what) for key, value in part.items()}


def json_text(tx: Tx, column: Any, *path: str) -> ColumnElement[str]:  # Any: a column of any table
    """Return what stands at a place of a JSON column; SQLite would fail where one row holds no JSON at all."""
    found: ColumnElement[str] = column[path].as_string()
    if tx.session.get_bind().dialect.name != "sqlite":
        return found
    return case((func.json_valid(cast(column, String)) == 1, found))


def set_aside(tx: Tx, what: str, error: Exception) -> None:
    """Say in the log that something cannot be read and is left out, at most once an hour."""
    _tell(what, why_of(error), tx.now.replace(minute=0, second=0, microsecond=0))


@lru_cache(_TOLD_MAX)
def _tell(what: str, why: str, _hour: datetime) -> None:
    log.error("row.set_aside", what=what, why=why, todo="run the version that wrote it, or restore it from a backup")


def why_of(error: Exception) -> str:
    """Return why something cannot be read, for a person."""
    return (error.message if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}")[:_WHY_MAX]


def _name(row: object) -> str:
    return f"{getattr(row, '__tablename__', type(row).__name__)} {getattr(row, 'id', '')}".strip()
