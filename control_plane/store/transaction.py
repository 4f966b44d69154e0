"""A transaction as the store's modules see it, and what the database's errors mean to callers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Session

from control_plane.errors import Conflict, OrQuantaError, Unavailable
from control_plane.model.record import Noun
from control_plane.store.tables import EventRow

log = structlog.get_logger()

DATABASE_AWAY: Final = "STORE_UNAVAILABLE"


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
                raise unavailable(trouble) from error
            self.session.expire_all()
            del self.events[events:]
            if isinstance(error, SQLAlchemyError):
                raise domain_error(error) from error
            raise
        nested.commit()


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


def unavailable(error: Exception) -> Unavailable:
    """Return the error for a database that cannot be used, and log it."""
    log.error("store.failed", error=_detail(error))
    return Unavailable(
        f"the database cannot be used ({_detail(error)}); nothing was changed; check its disk and its server, then "
        "retry",
        reason=DATABASE_AWAY,
    )
