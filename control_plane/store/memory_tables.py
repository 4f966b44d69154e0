"""The table of how far memory has been written."""

from datetime import datetime

from sqlmodel import Field

from control_plane.store.tables import Table
from control_plane.store.types import UtcDateTime


class MemoryCursorRow(Table, table=True):
    """Up to where all records of a kind were remembered: when the last one ended, and the sequence of its event.

    In place of the sequence it is the id of that record while what ended before the oldest event is looked for.
    """

    __tablename__ = "memory_cursors"
    name: str = Field(primary_key=True)
    ended_at: datetime = Field(sa_type=UtcDateTime)
    record_id: str
