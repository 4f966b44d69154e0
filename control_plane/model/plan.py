"""A goal after planning: what a person asked for, as values, each with the words it came from.

Nothing here is a default: a field that was not said is `None` (or an empty tuple).
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Intent(StrEnum):
    """What kind of thing a goal asks for."""

    TRAIN = "train"
    FINETUNE = "finetune"
    INFERENCE = "inference"
    BATCH = "batch"
    BENCHMARK = "benchmark"
    QUERY = "query"
    HEAL = "heal"
    SCALE = "scale"
    COST = "cost"
    CANCEL = "cancel"
    AMBIGUOUS = "ambiguous"
    UNSAFE = "unsafe"


LAUNCH_INTENTS = frozenset({Intent.TRAIN, Intent.FINETUNE, Intent.INFERENCE, Intent.BATCH, Intent.BENCHMARK})
"""The intents that start jobs; each has a job template of the same name."""


class SpotPreference(StrEnum):
    """Whether capacity that can be taken away may be used."""

    ALLOW = "allow"
    PREFER = "prefer"
    FORBID = "forbid"


class Priority(StrEnum):
    """How a job ranks in the queue."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class BudgetPeriod(StrEnum):
    """What a budget is measured over."""

    TOTAL = "total"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    GPU_HOUR = "gpu_hour"


class QuestionReason(StrEnum):
    """Why the planner has to ask."""

    MISSING = "missing"
    CONTRADICTION = "contradiction"


class RefusalCode(StrEnum):
    """Why a goal is refused."""

    DESTRUCTIVE = "DESTRUCTIVE"
    DISABLES_SAFETY = "DISABLES_SAFETY"
    BYPASSES_LIMITS = "BYPASSES_LIMITS"
    EXFILTRATES_SECRETS = "EXFILTRATES_SECRETS"
    MALICIOUS_WORKLOAD = "MALICIOUS_WORKLOAD"
    IMPERSONATION = "IMPERSONATION"
    OTHERS_RESOURCES = "OTHERS_RESOURCES"
    PRIVILEGE_ESCALATION = "PRIVILEGE_ESCALATION"


class InfeasibleCode(StrEnum):
    """Why a goal cannot be met."""

    BUDGET_BELOW_FLOOR = "BUDGET_BELOW_FLOOR"
    DEADLINE_PASSED = "DEADLINE_PASSED"
    DEADLINE_TOO_SHORT = "DEADLINE_TOO_SHORT"
    GPU_COUNT_NOT_POSITIVE = "GPU_COUNT_NOT_POSITIVE"
    GPU_MEMORY_TOO_SMALL = "GPU_MEMORY_TOO_SMALL"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The words a field came from.

    `field` is the attribute path in the plan, such as `constraints.budget` or `jobs[0].gpu.count`.
    `source` is `goal` or `answer:<field>`; `start` and `end` are offsets into that text, and
    `text` is exactly what stands there.
    """

    field: str
    text: str
    start: int
    end: int
    source: str = "goal"


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """The GPUs one job asks for. `count` is the total over all nodes and replicas, at the peak."""

    gpu_type: str | None = None
    count: int | None = None
    min_memory_bytes: int | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    replicas: int | None = None
    min_replicas: int | None = None
    alternative_types: tuple[str, ...] = ()
    exclude_types: tuple[str, ...] = ()
    any_idle: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """A cap on spending: the amount as said, and the same in US dollars."""

    amount: Decimal
    currency: str
    per: BudgetPeriod
    amount_usd: Decimal


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job of a plan. `template` is the job template that fits the intent."""

    name: str
    intent: Intent
    gpu: GpuRequest
    image: str | None = None
    command: str | None = None
    template: str | None = None
    max_seconds: int | None = None
    depends_on: tuple[str, ...] = ()
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Constraints:
    """What holds for the whole goal. Times are aware UTC; `schedule` is as the person wrote it."""

    budget: Budget | None = None
    rate_cap: Budget | None = None
    deadline_at: datetime | None = None
    start_at: datetime | None = None
    spot: SpotPreference | None = None
    providers: tuple[str, ...] = ()
    exclude_providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    exclude_regions: tuple[str, ...] = ()
    data_residency: str | None = None
    priority: Priority | None = None
    max_gpus: int | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """The existing things a goal is about. `all_of_mine`: every job of the caller's own that has not ended."""

    job_ids: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    gpu_index: int | None = None
    team: str | None = None
    pool: str | None = None
    all_of_mine: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Something to ask the person; `field` is the key under which the answer comes back."""

    field: str
    text: str
    reason: QuestionReason


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing will be done."""

    reason_code: RefusalCode
    reason: str


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Why the goal cannot be met as it stands."""

    reason_code: InfeasibleCode
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a goal means. It acts only without questions, refusal and infeasibility, and unless it is plan-only.

    `jobs` are what it launches. `subject` is what a goal that launches nothing speaks of: the GPUs to
    add to a pool, the run to price. `planner` is "rules", or the name of the model that has read the goal as well.
    `notes` are sentences that a person should know; they keep nothing from being carried out.
    """

    intent: Intent
    summary: str
    jobs: tuple[PlannedJob, ...] = ()
    subject: PlannedJob | None = None
    constraints: Constraints = Constraints()
    questions: tuple[Question, ...] = ()
    refusal: Refusal | None = None
    infeasible: Infeasible | None = None
    targets: Targets = Targets()
    evidence: tuple[Evidence, ...] = ()
    plan_only: bool = False
    planner: str = "rules"
    notes: tuple[str, ...] = ()

    @property
    def acts(self) -> bool:
        """Whether the plan may have any effect as it stands."""
        blocked = self.questions or self.refusal or self.infeasible or self.plan_only
        return not blocked and self.intent not in READ_ONLY_INTENTS


READ_ONLY_INTENTS = frozenset({Intent.QUERY, Intent.COST, Intent.AMBIGUOUS, Intent.UNSAFE})
"""The intents that never have an effect by themselves: cost plans propose, people decide."""
