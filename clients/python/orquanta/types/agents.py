"""Agents: the loops that propose actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class AgentStatus(StrEnum):
    """What an agent is doing."""

    UNKNOWN = "unknown"
    IDLE = "idle"
    THINKING = "thinking"
    ACTING = "acting"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent. `metrics` are its counters and gauges by name."""

    name: str
    status: AgentStatus
    paused: bool
    last_action: str
    last_error: str
    metrics: Mapping[str, float]
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """An endpoint of a model.

    `mode` is how it is asked for data: "json_schema", "json_object", "tool", "text", or "unprobed" before the first
    call; `breaker` is "closed", "open" while it is left alone after failures, or "half_open". Counts are since the
    control plane started.
    """

    name: str
    model: str
    base_url: str
    mode: str
    tools: bool
    streams: bool
    breaker: str
    last_error: str
    calls: int
    failures: int


@dataclass(frozen=True, slots=True)
class ReasoningStatus:
    """How reasoning is done. Without endpoints everything goes by rules; the bound for a day is for each user."""

    endpoints: tuple[ModelEndpoint, ...]
    cost_today_usd: Decimal
    cost_per_day_usd: Decimal
    tokens_today: int


@dataclass(frozen=True, slots=True)
class Replica:
    """One control plane of a fleet. `leads` for the one whose agents work.

    Replicas with another `settings_version` or `policy_version` were given other settings or policy files.
    """

    name: str
    server: str
    link_server: str
    leads: bool
    links: int
    version: str
    policy_version: str
    settings_version: str
    started_at: datetime | None
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class Replicas:
    """The control planes of a fleet, by name, and the epoch under which one of them leads."""

    replicas: tuple[Replica, ...]
    control_epoch: int
    leads_since: datetime | None
    answered_by: str
