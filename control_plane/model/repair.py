"""Repairs of hosts: what is ordered, what was done, what came of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from functools import cached_property

from control_plane.model.ids import ActionId, IncidentId, NodeId, RepairId


class Rung(IntEnum):
    """The rungs of the repair ladder, gentlest first. The numbers are those of the contract."""

    STOP_PROCESS = 1
    MOVE_JOB = 2
    RESET_GPU = 3
    RESTART_SERVICE = 4
    RELOAD_DRIVER = 5
    REBOOT_HOST = 6
    QUARANTINE = 7
    VERIFY = 8

    @cached_property
    def words(self) -> str:
        """The rung as a person reads it, for example "reset gpu"."""
        return self.name.lower().replace("_", " ")


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


class RepairOrigin(Enum):
    """Who ordered a repair."""

    CONTROL_PLANE = "control_plane"
    LOCAL_POLICY = "local_policy"


class CheckOutcome(Enum):
    """What one check of a verification found."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class RepairStep:
    """One thing that a host did. `started_at` is by the host's clock; `detail` has at most 2,000 characters."""

    name: str
    ok: bool
    detail: str
    started_at: datetime | None
    seconds: float
    undo: bool = False


@dataclass(frozen=True, slots=True)
class VerificationCheck:
    """One check of a verification; for NOT_CHECKED, `detail` says why."""

    name: str
    outcome: CheckOutcome
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a host says about a repair, in the words of `orquanta.v1.RepairReport`. Times are by the host's clock."""

    repair_id: str
    origin: RepairOrigin
    rung: Rung
    state: RepairState
    incident_id: str = ""
    gpu_uuids: tuple[str, ...] = ()
    service: str = ""
    dry_run: bool = False
    message: str = ""
    steps: tuple[RepairStep, ...] = ()
    checks: tuple[VerificationCheck, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    handoff_json: str = ""
    condition_ids: tuple[str, ...] = ()
    policy_version: int = 0


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair in the books: the order, and what its host said about it.

    `gpu_uuids` empty means all of the host. `ordered_at`, `sent_at` (when the host's jobs were out of its way and it
    was given to the host; None while it waits for them), `verifying_at` and `closed_at` are by the control plane's
    clock, `started_at` and `ended_at` by the host's. `host_repair_id` is what the host calls it.
    """

    id: RepairId
    node_id: NodeId
    incident_id: IncidentId | None
    action_id: ActionId | None
    origin: RepairOrigin
    rung: Rung
    state: RepairState
    reason: str
    ordered_at: datetime
    gpu_uuids: tuple[str, ...] = ()
    service: str = ""
    process_ids: tuple[int, ...] = ()
    dry_run: bool = False
    condition_ids: tuple[str, ...] = ()
    not_after: datetime | None = None
    sent_at: datetime | None = None
    verifying_at: datetime | None = None
    closed_at: datetime | None = None
    message: str = ""
    steps: tuple[RepairStep, ...] = ()
    checks: tuple[VerificationCheck, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    handoff_json: str = ""
    policy_version: int = 0
    host_repair_id: str = ""
