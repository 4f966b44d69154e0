"""Reasoning runs: what an agent thinks and does about one goal, incident or question."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from orquanta.types.diagnoses import Diagnosis


class RunState(StrEnum):
    """Where a run is in its life."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    NEEDS_INPUT = "needs_input"
    WATCHING = "watching"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LIMITED = "limited"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        """Whether the run will never change state again."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.LIMITED, RunState.STOPPED)


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What a run has used, or may use."""

    turns: int
    tool_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """A run. `reasoner` is "rules" or a model's name; `tainted` once it has read words that strangers wrote."""

    id: str
    agent_name: str
    goal_id: str
    incident_id: str
    user_id: str
    state: RunState
    status_reason: str
    result: str
    used: RunUsage
    limits: RunUsage
    reasoner: str
    tainted: bool
    started_at: datetime | None
    finished_at: datetime | None
    diagnosis: Diagnosis | None


@dataclass(frozen=True, slots=True)
class ReasoningEvent:
    """One thing that an agent thought or did. `type` is "tool.started", "model.replied" and so on.

    `sequence` counts from 1 within the run without gaps; a "model.delta" carries that of the event before it.
    """

    run_id: str
    sequence: int
    agent_name: str
    goal_id: str
    type: str
    message: str
    data_json: str
    evidence_ids: tuple[str, ...]
    tainted: bool
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its newest events, oldest first."""

    run: Run
    events: tuple[ReasoningEvent, ...]
