"""The table of how far memory has been written."""

from datetime import datetime

from sqlmodel import Field

from control_plane.store.tables import Table
from control_plane.store.types import UtcDateTime


class MemoryCursorRow(Table, table=True):
    """Up to which record of a kind everything was remembered: when the last one ended, and its id."""

    __tablename__ = "memory_cursors"
    name: str = Field(primary_key=True)
    ended_at: datetime = Field(sa_type=UtcDateTime)
    record_id: str
