"""Writes that tests of the store make, and what they have come to."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from threading import Event

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.account import User
from control_plane.model.identity import Role
from control_plane.model.ids import new_user_id
from control_plane.model.record import Noun
from control_plane.store import users
from control_plane.store.database import Store, Tx
from control_plane.store.tables import UserRow

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def someone(email: str) -> User:
    return User(new_user_id(), email, Role.USER, False, NOON, None, Decimal(0), Decimal(0), None)


def insert(email: str) -> Callable[[Tx], None]:
    return lambda tx: users.insert(tx, someone(email), "hash")


def emails(tx: Tx) -> set[str]:
    return set(tx.session.execute(select(col(UserRow.email))).scalars())


def announce(name: str) -> Callable[[Tx], None]:
    return lambda tx: tx.emit(Noun.GOAL, name, f"goal.{name}", "")


async def together(store: Store, *functions: Callable[[Tx], object]) -> list[object]:
    """Queue writes behind one that holds the writer, so that they form one batch."""
    started, release = Event(), Event()

    def hold_the_writer(_tx: Tx) -> None:
        started.set()
        release.wait(30)

    first = asyncio.ensure_future(store.write(hold_the_writer))
    await asyncio.to_thread(started.wait, 30)
    rest = asyncio.gather(*(store.write(function) for function in functions), return_exceptions=True)
    await asyncio.sleep(0)
    release.set()
    await first
    return list(await rest)
