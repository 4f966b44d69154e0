"""The tables of policies: every set that was ever in force, and what its rules were shown of each action."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Text
from sqlalchemy.types import JSON
from sqlmodel import Field

from control_plane.store.tables import Table
from control_plane.store.types import UtcDateTime


class PolicySetRow(Table, table=True):
    """A set of policies that was in force, with its files: a list of names and texts."""

    __tablename__ = "policy_sets"
    version: str = Field(primary_key=True)
    files: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))  # Any: nested JSON
    loaded_at: datetime = Field(sa_type=UtcDateTime)


class ActionInputRow(Table, table=True):
    """What an action was judged by when it was proposed. `ruling` is that of the rules of files."""

    __tablename__ = "action_inputs"
    action_id: str = Field(primary_key=True, foreign_key="actions.id")
    policy_version: str
    ruling: str
    input_json: str = Field(sa_type=Text)
    judged_at: datetime = Field(sa_type=UtcDateTime, index=True)
