"""The control epoch: a number in the database that grows each time somebody takes the lead."""

from datetime import datetime
from typing import Final

from sqlmodel import Session

from control_plane.errors import Unavailable
from control_plane.store.tables import ControlRow

_KEY: Final = "control_epoch"

LEADER_CHANGED: Final = "leader.changed"
"""The kind of the event that tells of an epoch which one of several control planes has taken."""

SUPERSEDED: Final = "CONTROL_PLANE_SUPERSEDED"


def take(session: Session, now: datetime, *, by: str = "") -> int:
    """Make the next epoch the one in force, and return it; older ones may write no more.

    An epoch is at least the time, in seconds since 1970: hosts obey a database that was restored from a backup,
    though control planes with higher numbers than the backup's have spoken to them since.
    """
    row = session.get(ControlRow, _KEY, populate_existing=True) or ControlRow(key=_KEY, value="0")
    row.value = str(max(int(row.value) + 1, int(now.timestamp())))
    row.changed_by = by
    row.changed_at = now
    session.add(row)
    return int(row.value)


def in_force(session: Session) -> tuple[int, str, datetime | None]:
    """Return the epoch in force, who took it, and when; (0, "", None) if nobody ever did."""
    row = session.get(ControlRow, _KEY, populate_existing=True)
    return (0, "", None) if row is None else (int(row.value), row.changed_by, row.changed_at)


def current(session: Session) -> int:
    """Return the epoch in force, as this transaction knows it."""
    row = session.get(ControlRow, _KEY)
    return 0 if row is None else int(row.value)


def superseded() -> Unavailable:
    """Return the error for what an older epoch wants to write."""
    return Unavailable(
        "another control plane has taken over this database; use that one, or stop it and restart this one",
        reason=SUPERSEDED,
    )
