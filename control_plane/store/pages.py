"""Pages of lists: stable under inserts, because a token names the last row seen, not an offset."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_
from sqlmodel import Session

from control_plane.errors import InvalidArgument

T = TypeVar("T")

_SIZE_DEFAULT = 50
_SIZE_MAX = 500
_AGE_KEY_PARTS = 2


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
    if page_size > _SIZE_MAX:
        raise InvalidArgument(f"page_size is {page_size}; at most {_SIZE_MAX} is allowed", reason="PAGE_SIZE_INVALID")
    if page_token:
        _decode(page_token)
    return PageRequest(page_size or _SIZE_DEFAULT, page_token)


def newest_first(
    session: Session, query: Select[Any], page: PageRequest, created_at: Any, row_id: Any
) -> tuple[list[Any], str]:  # Any: works on the columns and rows of every table
    """Run `query` ordered by age, newest first, and return the page's rows and the next token."""
    if page.token:
        key = _decode(page.token)
        query = query.where(_before(created_at, row_id, datetime.fromtimestamp(key[0] / 1_000_000, UTC), key[1]))
    rows = list(session.execute(query.order_by(created_at.desc(), row_id.desc()).limit(page.size + 1)).scalars())
    if len(rows) <= page.size:
        return rows, ""
    last = rows[page.size - 1]
    return rows[: page.size], _encode([round(last.created_at.timestamp() * 1_000_000), last.id])


def by_key(
    session: Session, query: Select[Any], page: PageRequest, column: Any, *, descending: bool = False
) -> tuple[list[Any], str]:  # Any: works on the columns and rows of every table
    """Run `query` ordered by one unique column and return the page's rows and the next token."""
    if page.token:
        (key,) = _decode(page.token)
        query = query.where(column < key if descending else column > key)
    ordered = query.order_by(column.desc() if descending else column)
    rows = list(session.execute(ordered.limit(page.size + 1)).scalars())
    if len(rows) <= page.size:
        return rows, ""
    return rows[: page.size], _encode([getattr(rows[page.size - 1], column.key)])


def _before(created_at: Any, row_id: Any, when: datetime, key: str) -> ColumnElement[bool]:  # Any: any table's columns
    return or_(created_at < when, and_(created_at == when, row_id < key))


def _encode(key: list[Any]) -> str:  # Any: numbers and texts
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(token: str) -> list[Any]:  # Any: numbers and texts
    try:
        key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        key = None
    if (
        not isinstance(key, list)
        or len(key) not in (1, _AGE_KEY_PARTS)
        or (len(key) == _AGE_KEY_PARTS and not isinstance(key[0], int))
    ):
        raise InvalidArgument(
            "page_token is not one this server gave out; start again without it", reason="PAGE_TOKEN_INVALID"
        )
    return key
