"""Agents: the loops that propose actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
