"""Goals: what a person wants done on GPUs, in plain words."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

from control_plane.model.ids import GoalId, UserId
from control_plane.model.plan import Plan


class GoalState(Enum):
    """Where a goal is in its life."""

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
        """Whether the goal will never change state again."""
        return self in (GoalState.SUCCEEDED, GoalState.FAILED, GoalState.CANCELLED, GoalState.REFUSED)


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal. `budget_usd` is the caller's cap; the plan may hold a stricter one."""

    id: GoalId
    user_id: UserId
    user_email: str
    text: str
    timezone: str
    state: GoalState
    status_reason: str
    plan: Plan | None
    answers: tuple[tuple[str, str], ...]
    budget_usd: Decimal | None
    result: str
    created_at: datetime
    updated_at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class BillLine:
    """One allocation on a bill."""

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
    """What a goal came to. Waived GPU-seconds were lost by the fleet's own fault and are not charged."""

    cost_usd: Decimal
    reserved_usd: Decimal
    gpu_seconds: float
    waived_gpu_seconds: float
    lines: tuple[BillLine, ...]
