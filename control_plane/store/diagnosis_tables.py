"""The table of what models were asked about causes, and what they answered."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Text
from sqlalchemy.types import JSON
from sqlmodel import Field

from control_plane.store.tables import Table
from control_plane.store.types import UtcDateTime


class DiagnosisRow(Table, table=True):
    """What a model was asked about one attempt of a job, or one incident."""

    __tablename__ = "diagnoses"
    subject: str = Field(primary_key=True)
    basis: str
    user_id: str = ""
    asks: int = 0
    asked_at: datetime = Field(sa_type=UtcDateTime)
    answer: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))  # Any: nested JSON
    vain: str = Field(default="", sa_type=Text)
    settled: bool = False
    __table_args__ = (
        Index("diagnoses_of_user", "user_id", "asked_at"),
        Index("diagnoses_by_age", "asked_at"),
    )
