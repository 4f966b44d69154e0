"""Column types that behave alike on SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, DateTime, Integer
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from typing_extensions import override

_SQLITE_CHARACTERS: Final = len("2026-01-31 23:59:59.999999")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite keeps no zone, so it is taken off on the way in and put back on the way out.

    A row has several and a storm writes thousands of rows, so SQLite's text is made and read here: SQLAlchemy's own way
    to the same text takes five times as long.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: they would silently mean the server's zone."""
        if value is None:
            return None
        utc = _utc(value)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return an aware UTC time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @override
    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:  # Any: SQLAlchemy's signature
        return _to_sqlite() if dialect.name == "sqlite" else super().bind_processor(dialect)

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:  # Any: as above
        return _from_sqlite if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"naive time {value!r}; pass an aware one")
    return value.astimezone(UTC)


def _to_sqlite() -> Callable[[datetime | None], str | None]:
    """Return what makes text of times. It remembers the last one: most times of a transaction are its own."""
    last: tuple[datetime | None, str | None] = (None, None)

    def text(value: datetime | None) -> str | None:
        nonlocal last
        known, told = last  # at once: several threads use this
        if value is known:
            return told
        if value is None:
            return None
        told = _utc(value).isoformat(" ", "microseconds")[:_SQLITE_CHARACTERS]
        last = (value, told)
        return told

    return text


def _from_sqlite(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(f"{value}Z")


class JsonText(str):
    """JSON that nobody has read yet."""

    __slots__ = ()


class UnreadJson(TypeDecorator[Any]):  # Any: nested JSON
    """JSON that is long and seldom looked into: on SQLite it comes as `JsonText`, on PostgreSQL as what it says."""

    impl = JSON
    cache_ok = True
    should_evaluate_none = True  # as JSON itself has it

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:  # Any: as above
        return _unread if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _unread(value: str | None) -> JsonText | None:
    return None if value is None or value == "null" else JsonText(value)


# SQLite numbers rows by itself only in a column declared INTEGER.
Sequence: Any = BigInteger().with_variant(Integer(), "sqlite")
