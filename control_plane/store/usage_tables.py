"""The tables of what models were used for and of what their endpoints can do."""

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from control_plane.store.tables import Table
from control_plane.store.types import UtcDateTime


class ModelUsageRow(Table, table=True):
    """What was used on one day, in UTC, for one tenant, goal, run, agent and model; empty ids stand for none."""

    __tablename__ = "model_usage"
    day: str = Field(primary_key=True)
    user_id: str = Field(primary_key=True)
    goal_id: str = Field(primary_key=True)
    run_id: str = Field(primary_key=True)
    agent_name: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    calls: int = Field(default=0, sa_type=BigInteger)
    input_tokens: int = Field(default=0, sa_type=BigInteger)
    output_tokens: int = Field(default=0, sa_type=BigInteger)
    cost_usd_micros: int = Field(default=0, sa_type=BigInteger)
    reserved_usd_micros: int = Field(default=0, sa_type=BigInteger)
    __table_args__ = (
        Index("model_usage_by_goal", "goal_id"),
        Index("model_usage_by_run", "run_id"),
    )


class ModelFeaturesRow(Table, table=True):
    """What an endpoint can do with its model; `endpoint_key` is the SHA-256 of both."""

    __tablename__ = "model_features"
    endpoint_key: str = Field(primary_key=True)
    mode: str
    tools: bool
    streams: bool
    stream_usage: bool
    stream_tools: bool
    string_bounds: bool
    completion_limit: bool
    temperature: bool
    probed_at: datetime = Field(sa_type=UtcDateTime)
