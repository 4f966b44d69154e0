"""Audit records and events: what happened, in order."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum


class Noun(Enum):
    """What an event is about."""

    GOAL = "goal"
    JOB = "job"
    NODE = "node"
    INCIDENT = "incident"
    ACTION = "action"
    AGENT = "agent"
    RUN = "run"
    UNKNOWN = "unknown"
    """Of an event that a newer control plane beside this one has written."""


@dataclass(frozen=True, slots=True)
class Event:
    """A committed change. `sequence` orders all events and is what watch streams resume from."""

    sequence: int
    noun: Noun
    id: str
    parent_id: str
    kind: str
    message: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A decision or effect, its author and reason. Never changed; once `erased`, without the words of people."""

    id: int
    agent_name: str
    action: str
    reasoning: str
    payload_json: str
    outcome: str
    cost_impact_usd: Decimal
    created_at: datetime
    action_id: str
    goal_id: str
    job_id: str
    node_id: str
    run_id: str = ""
    hash: bytes = b""
    erased: bool = False
