"""The steps of a reasoning run: each is written down before it is taken, and what came of it afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from control_plane.model.diagnosis import Diagnosis
from control_plane.model.ids import ActionId, GoalId, JobId, NodeId, RunId, UserId
from control_plane.model.run import Run
from control_plane.model.tool import ToolEffect

Json = Mapping[str, Any]  # Any: JSON of any shape


class StepKind(StrEnum):
    """What a step does.

    PLAN has a model read the goal, THINK has it choose what to do next, TOOL calls a tool, DECISION records what
    became of an action that waited for people. CHOOSE has a model choose what to do about a failed job, REPLAN runs
    such a job again in another one.
    """

    PLAN = "plan"
    THINK = "think"
    TOOL = "tool"
    DECISION = "decision"
    CHOOSE = "choose"
    REPLAN = "replan"


@dataclass(frozen=True, slots=True)
class Intent:
    """A step that is about to be taken.

    `name` is the tool's, the action's id of a DECISION, or the failed job's of a CHOOSE or REPLAN. `arguments_json` is
    as it was asked for, and of a REPLAN what is done. `turn` is the number of the THINK step that asked for it, 0 for
    rules; `call_id` is the model's own id of the call.
    """

    kind: StepKind
    name: str
    arguments_json: str = "{}"
    effect: ToolEffect = ToolEffect.READ
    turn: int = 0
    call_id: str = ""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step.

    `data` is the reply or the tool's result as JSON. `shown` is what a model is shown of it; `stored` holds the whole
    text where that is longer. `status` is a ToolStatus, "replied" for a model's turn, or "failed".
    """

    status: str
    data: Json
    shown: str = ""
    stored: str = ""
    error_code: str = ""
    evidence_id: str = ""
    action_id: ActionId | None = None
    untrusted: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    seconds: float = 0.0
    model: str = ""


@dataclass(frozen=True, slots=True)
class RunStep:
    """A step as it is in the books. Without an outcome it was begun, and whether it took effect is not known."""

    run_id: RunId
    number: int
    intent: Intent
    outcome: Outcome | None
    started_at: datetime
    finished_at: datetime | None

    @property
    def key(self) -> str:
        """The same for every repeat of this step: what it proposes is proposed once."""
        return f"{self.run_id}/{self.number}"


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is to begin."""

    id: RunId
    agent_name: str
    goal_id: GoalId | None
    user_id: UserId | None
    reasoner: str
    planned: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class RunBook:
    """A run with what its loop has to know beside it.

    `planned` are the (tool, target) pairs that its plan named before anything was read. `waits_for` are actions that
    people must decide. `watches` are nodes whose changes wake it; `wake_at` is when it looks without a reason.
    `notes` are small facts that it keeps for itself. `events` counts what it has told. `diagnoses` are those of the
    goal's failed jobs.
    """

    run: Run
    planned: frozenset[tuple[str, str]] = frozenset()
    waits_for: tuple[ActionId, ...] = ()
    watches: tuple[NodeId, ...] = ()
    wake_at: datetime | None = None
    stop_reason: str = ""
    notes: Json = field(default_factory=dict)
    events: int = 0
    diagnoses: Mapping[JobId, Diagnosis] = field(default_factory=dict)
