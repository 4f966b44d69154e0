"""What was spent on GPUs."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class CostKey(StrEnum):
    """By what spending is added up."""

    USER = "user"
    TEAM = "team"
    GOAL = "goal"
    JOB = "job"
    DAY = "day"
    GPU_TYPE = "gpu_type"


@dataclass(frozen=True, slots=True)
class CostLine:
    """One sum. `key` is an address, a team, a goal or a job ("" for none), a day (UTC) or a GPU model."""

    key: str
    cost_usd: Decimal
    attempts: int
    gpu_hours: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What attempts that began in a period have cost, the largest sums first (days newest first).

    An attempt counts when it has ended; `reserved_usd` is kept back for jobs that run or wait now. `people` are the
    addresses that are meant, at most 20; `team` is empty where none was named.
    """

    by: CostKey
    team: str
    since: datetime | None
    until: datetime | None
    total_usd: Decimal
    reserved_usd: Decimal
    people: tuple[str, ...]
    lines: tuple[CostLine, ...]
