"""Reasoning runs: what an agent thinks and does about one goal, incident or question. A run is rows, no coroutine."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from control_plane.model.diagnosis import Diagnosis
from control_plane.model.ids import GoalId, IncidentId, RunId, UserId


class RunState(StrEnum):
    """Where a run is in its life."""

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


class EventType(StrEnum):
    """What a reasoning event tells. MODEL_DELTA is never stored: what it shows is in MODEL_REPLIED."""

    RUN_STARTED = "run.started"
    MEMORY_RECALLED = "memory.recalled"
    MODEL_DELTA = "model.delta"
    MODEL_REPLIED = "model.replied"
    PLAN_PROPOSED = "plan.proposed"
    PLAN_VALIDATED = "plan.validated"
    TOOL_STARTED = "tool.started"
    TOOL_FINISHED = "tool.finished"
    POLICY_DECISION = "policy.decision"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_DECIDED = "approval.decided"
    LIMIT_WARNING = "limit.warning"
    DIAGNOSIS = "diagnosis"
    REPLANNED = "run.replanned"
    RUN_WAITING = "run.waiting"
    RUN_RESUMED = "run.resumed"
    RUN_FINISHED = "run.finished"


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What a run has used, or may use: turns of the model, tool calls, tokens, US dollars for the model, seconds."""

    turns: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    seconds: float = 0.0


DEFAULT_LIMITS = RunUsage(
    turns=12, tool_calls=24, input_tokens=60_000, output_tokens=16_000, cost_usd=Decimal("0.50"), seconds=600.0
)
"""What a run may use unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run. `reasoner` is "rules" or a model's name; `tainted` once it has read words that strangers wrote."""

    id: RunId
    agent_name: str
    goal_id: GoalId | None
    incident_id: IncidentId | None
    user_id: UserId | None
    state: RunState
    status_reason: str
    result: str
    used: RunUsage
    limits: RunUsage
    reasoner: str
    tainted: bool
    started_at: datetime
    finished_at: datetime | None
    diagnosis: Diagnosis | None
    version: int


@dataclass(frozen=True, slots=True)
class ReasoningEvent:
    """One thing that an agent thought or did. `sequence` counts from 1 within the run, without gaps.

    `data_json` is free of secrets. Every stored event is in the audit as well.
    """

    run_id: RunId
    sequence: int
    agent_name: str
    goal_id: GoalId | None
    type: EventType
    message: str
    data_json: str
    evidence_ids: tuple[str, ...]
    tainted: bool
    created_at: datetime
