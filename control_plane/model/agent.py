"""Agents as people see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class AgentStatus(Enum):
    """What an agent is doing."""

    IDLE = "idle"
    THINKING = "thinking"
    ACTING = "acting"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """The state of one agent."""

    name: str
    status: AgentStatus
    paused: bool
    last_action: str
    last_error: str
    metrics: Mapping[str, float]
    updated_at: datetime
