"""Rows made and read at the least cost: where a storm writes thousands, SQLModel's own ways are half of the work."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic_core import PydanticUndefined
from sqlalchemy import inspect
from sqlmodel import SQLModel

R = TypeVar("R", bound=SQLModel)


def fresh(table: type[R], values: Mapping[str, Any]) -> R:  # Any: a column's value
    """Return a row that is not in the database yet; columns that are not named get the table's defaults.

    `Tx.add` takes it: an INSERT writes what the row holds, so nothing has to be noted about each column.
    """
    row: R = _maker(table)()
    row.__dict__.update(_defaults(table))
    row.__dict__.update(values)
    return row


@cache
def _maker(table: type[SQLModel]) -> Callable[[], Any]:  # Any: a row of this table
    made: Callable[[], Any] = inspect(table).class_manager.new_instance
    return made


def columns(row: SQLModel) -> Mapping[str, Any]:  # Any: a column's value
    """Return what a row holds by the names of its columns: reading many so costs a fifth of reading attributes."""
    held = row.__dict__
    names = _names(type(row))
    if not names <= held.keys():
        for name in names:
            getattr(row, name)  # it is read from the database if it is not there any more
    return held


@cache
def _names(table: type[SQLModel]) -> frozenset[str]:
    return frozenset(table.model_fields)


@cache
def _defaults(table: type[SQLModel]) -> dict[str, Any]:  # Any: a column's value
    fields = table.model_fields
    return {name: field.default for name, field in fields.items() if field.default is not PydanticUndefined}
