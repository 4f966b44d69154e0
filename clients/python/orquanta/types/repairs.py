"""Repairs of hosts: what was ordered, what was done and what the verification found."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RepairRung(StrEnum):
    """The rungs of the repair ladder, gentlest first; `verify` only tests under load."""

    UNKNOWN = "unknown"
    STOP_PROCESS = "stop_process"
    MOVE_JOB = "move_job"
    RESET_GPU = "reset_gpu"
    RESTART_SERVICE = "restart_service"
    RELOAD_DRIVER = "reload_driver"
    REBOOT_HOST = "reboot_host"
    QUARANTINE = "quarantine"
    VERIFY = "verify"


class RepairState(StrEnum):
    """Where a repair is. `refused` means that a precondition did not hold, and nothing was done."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    RUNNING = "running"
    VERIFYING = "verifying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"

    @property
    def ended(self) -> bool:
        """True once it never changes again."""
        return self in {RepairState.SUCCEEDED, RepairState.FAILED, RepairState.REFUSED}


class RepairOrigin(StrEnum):
    """Who ordered a repair: the control plane, or the host itself under its signed local policy."""

    UNKNOWN = "unknown"
    CONTROL_PLANE = "control_plane"
    LOCAL_POLICY = "local_policy"


class CheckOutcome(StrEnum):
    """What one check of a verification found."""

    UNKNOWN = "unknown"
    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class VerificationCheck:
    """One check of a verification. `detail` has figures, or why it could not be checked."""

    name: str
    outcome: CheckOutcome
    detail: str
    took_seconds: float


@dataclass(frozen=True, slots=True)
class RepairStep:
    """One thing that was done. `undo` is true if it takes back an earlier one."""

    name: str
    ok: bool
    detail: str
    started_at: datetime | None
    took_seconds: float
    undo: bool


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair as its host reports it; times are by the host's clock.

    Without `gpu_uuids` all of the host is meant. With `dry_run`, nothing was changed. `handoff_json` is the report
    of a quarantine. `policy_version` is that of the local policy, if the host decided by itself.
    """

    id: str
    incident_id: str
    origin: RepairOrigin
    rung: RepairRung
    state: RepairState
    gpu_uuids: tuple[str, ...]
    service: str
    dry_run: bool
    message: str
    steps: tuple[RepairStep, ...]
    checks: tuple[VerificationCheck, ...]
    started_at: datetime | None
    ended_at: datetime | None
    handoff_json: str
    condition_ids: tuple[str, ...]
    policy_version: int
