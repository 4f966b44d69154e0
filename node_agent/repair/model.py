"""Repairs as this host knows them: what is ordered, what was done, what the local policy allows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from node_agent.health.model import Rung


class RepairState(Enum):
    """Where a repair is."""

    PENDING = "pending"
    RUNNING = "running"
    VERIFYING = "verifying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"

    @property
    def ended(self) -> bool:
        """Whether it will never change again."""
        return self in (RepairState.SUCCEEDED, RepairState.FAILED, RepairState.REFUSED)


class Origin(Enum):
    """Who ordered a repair."""

    CONTROL_PLANE = "control_plane"
    LOCAL_POLICY = "local_policy"


@dataclass(frozen=True, slots=True)
class RepairOrder:
    """A repair to carry out, once. `gpu_uuids` empty means all of the host."""

    id: str
    rung: Rung
    origin: Origin
    reason: str
    incident_id: str = ""
    gpu_uuids: tuple[str, ...] = ()
    service: str = ""
    process_ids: tuple[int, ...] = ()
    dry_run: bool = False
    not_after: datetime | None = None
    condition_ids: tuple[str, ...] = ()
    policy_version: int = 0
    may_stop_jobs: bool = False
    """Whether jobs on what is repaired may be stopped for it; the control plane drains before it orders."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done. `detail` has at most 2,000 characters."""

    name: str
    ok: bool
    detail: str
    started_at: datetime
    seconds: float
    undo: bool = False


class CheckOutcome(Enum):
    """What one check of a verification found."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a verification; for NOT_CHECKED, `detail` says why."""

    name: str
    outcome: CheckOutcome
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RepairRecord:
    """A repair and what became of it so far; kept on disk through kill -9 and reboots."""

    order: RepairOrder
    state: RepairState
    message: str
    started_at: datetime
    boot_id: str
    """The boot in which it began."""
    ended_at: datetime | None = None
    steps: tuple[Step, ...] = ()
    checks: tuple[Check, ...] = ()
    handoff_json: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often the host may climb one rung by itself."""

    count: int
    period_seconds: float
    may_stop_jobs: bool


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """What the host may do by itself while the link is down; its signature was checked."""

    node_id: str
    version: int
    issued_at: datetime
    expires_at: datetime
    allowances: Mapping[Rung, Allowance]
    total_count: int
    total_period_seconds: float
    after_seconds: float
