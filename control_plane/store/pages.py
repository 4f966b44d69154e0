"""Pages of lists: stable under inserts, because a token names the last row seen, not an offset."""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Generic, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Integer, Select, String, and_, bindparam, or_
from sqlmodel import Session

from control_plane.errors import InvalidArgument

T = TypeVar("T")
K = TypeVar("K")

_SIZE_DEFAULT = 50
_SIZE_MAX = 500
_KEYS_MAX = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_YEAR_9999_MICROS = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_INTEGER_MAX = 2**63


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page: at most `size` rows after `token`."""

    size: int = _SIZE_DEFAULT
    token: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; `next_token` is empty on the last one."""

    items: tuple[T, ...]
    next_token: str


def page_request(page_size: int, page_token: str) -> PageRequest:
    """Return the request for a page. Raises InvalidArgument for a bad size or token."""
    if not 0 <= page_size <= _SIZE_MAX:
        raise InvalidArgument(
            f"page_size is {page_size}; 1 to {_SIZE_MAX} are possible, and 0 means {_SIZE_DEFAULT}",
            reason="PAGE_SIZE_INVALID",
        )
    if page_token:
        _decode(page_token)
    return PageRequest(page_size or _SIZE_DEFAULT, page_token)


def newest_first(
    session: Session, query: Select[Any], page: PageRequest, created_at: Any, row_id: Any
) -> tuple[list[Any], str]:  # Any: works on the columns and rows of every table
    """Run `query` ordered by age, newest first, and return the page's rows and the next token."""
    if page.token:
        micros, key = _expect(_decode(page.token), int, str)
        if not 0 <= micros < _YEAR_9999_MICROS:
            raise _bad_token()
        query = query.where(_before(created_at, row_id, _EPOCH + timedelta(microseconds=micros), key))
    rows = list(session.execute(query.order_by(created_at.desc(), row_id.desc()).limit(page.size + 1)).scalars())
    if len(rows) <= page.size:
        return rows, ""
    last = rows[page.size - 1]
    return rows[: page.size], _encode([(getattr(last, created_at.key) - _EPOCH) // _MICROSECOND, last.id])


def by_key(
    session: Session, query: Select[Any], page: PageRequest, column: Any, *, descending: bool = False
) -> tuple[list[Any], str]:  # Any: works on the columns and rows of every table
    """Run `query` ordered by one unique column and return the page's rows and the next token."""
    if page.token:
        (key,) = _expect(_decode(page.token), int if isinstance(column.type, Integer) else str)
        query = query.where(column < key if descending else column > key)
    ordered = query.order_by(column.desc() if descending else column)
    rows = list(session.execute(ordered.limit(page.size + 1)).scalars())
    if len(rows) <= page.size:
        return rows, ""
    return rows[: page.size], _encode([getattr(rows[page.size - 1], column.key)])


def place_token(place: int) -> str:
    """Return the token of a page of a list that is made in memory and begins after so many items; empty for 0."""
    return _encode([place]) if place else ""


def place_of(token: str) -> int:
    """Return after how many items the page of a token begins. Raises InvalidArgument for one of another list."""
    if not token:
        return 0
    (place,) = _expect(_decode(token), int)
    if place < 0:
        raise _bad_token()
    return int(place)


def batched(keys: Iterable[K]) -> Iterator[list[K]]:
    """Yield the keys in lists that are short enough for an IN of either database."""
    waiting = iter(keys)
    while batch := list(islice(waiting, _KEYS_MAX)):
        yield batch


def among(keys: Iterable[str]) -> BindParameter[str]:
    """Return the keys for an IN of a column of text, in which SQLAlchemy would look at each if they came as a list."""
    return bindparam(None, list(keys), String, expanding=True)


def _before(created_at: Any, row_id: Any, when: datetime, key: str) -> ColumnElement[bool]:  # Any: any table's columns
    return or_(created_at < when, and_(created_at == when, row_id < key))


def _encode(key: list[Any]) -> str:  # Any: numbers and texts
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(token: str) -> list[Any]:  # Any: numbers and texts
    try:
        key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise _bad_token() from None
    if not isinstance(key, list):
        raise _bad_token()
    return key


def _expect(key: list[Any], *types: type) -> list[Any]:  # Any: numbers and texts
    """Return the key if it is of the list's own form: a token of another list, or a forged one, is refused."""
    fits = [type(part) for part in key] == list(types)
    if not fits or any(_is_out_of_range(part) for part in key):
        raise _bad_token()
    return key


def _is_out_of_range(part: object) -> bool:
    return "\0" in part if isinstance(part, str) else isinstance(part, int) and abs(part) >= _INTEGER_MAX


def _bad_token() -> InvalidArgument:
    return InvalidArgument(
        "page_token is not one this server gave out for this list; start again without it", reason="PAGE_TOKEN_INVALID"
    )
