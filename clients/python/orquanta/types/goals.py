"""Goals: what a person wants done on GPUs, how it was understood, and what it came to."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from orquanta.types.jobs import Job, ResourceRequest


class GoalState(StrEnum):
    """Where a goal is in its life."""

    UNKNOWN = "unknown"
    SUBMITTED = "submitted"
    PLANNING = "planning"
    NEEDS_INPUT = "needs_input"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"

    @property
    def ended(self) -> bool:
        """True if the goal never changes again."""
        return self in {GoalState.SUCCEEDED, GoalState.FAILED, GoalState.CANCELLED, GoalState.REFUSED}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The words a planned field came from, and where: code points [start, end) of `source`."""

    field: str
    text: str
    start: int
    end: int
    source: str


@dataclass(frozen=True, slots=True)
class Question:
    """Something the planner must know first; answer it under the key `field`."""

    field: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job of a plan. `max_runtime_seconds` is 0 if no limit was named."""

    name: str
    intent: str
    resources: ResourceRequest
    image: str
    command: str
    template: str
    max_runtime_seconds: int
    depends_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A goal as it was understood. What was not said is empty or None; nothing is invented.

    `notes` are sentences that a person should know: that a demonstration runs, that the fleet is too small now.
    """

    intent: str
    summary: str
    jobs: tuple[PlannedJob, ...]
    questions: tuple[Question, ...]
    refusal: str
    refusal_code: str
    infeasible: str
    budget_usd: Decimal | None
    budget_text: str
    deadline: datetime | None
    spot: str
    providers: tuple[str, ...]
    regions: tuple[str, ...]
    priority: str
    evidence: tuple[Evidence, ...]
    planner: str
    plan_only: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BillLine:
    """One charged allocation: GPU-seconds times price. `waived` if the fleet lost the work."""

    job_id: str
    job_name: str
    epoch: int
    gpu_type: str
    gpu_count: int
    gpu_seconds: float
    price_usd_per_gpu_hour: Decimal
    cost_usd: Decimal
    waived: bool
    node_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bill:
    """What a goal came to: settled cost, money still reserved, and one line for each allocation."""

    cost_usd: Decimal
    reserved_usd: Decimal
    gpu_seconds: float
    waived_gpu_seconds: float
    lines: tuple[BillLine, ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal. `plan` is None until it was planned; `result` is empty until it ended, `run_id` if it needed no run."""

    id: str
    user_id: str
    user_email: str
    text: str
    state: GoalState
    status_reason: str
    plan: Plan | None
    result: str
    bill: Bill
    created_at: datetime | None
    updated_at: datetime | None
    version: int
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class GoalView:
    """A goal and its jobs in the order of the plan, as they were at one moment."""

    goal: Goal
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """How a text would be understood, and what its jobs would reserve at most."""

    plan: Plan
    estimate_usd: Decimal
