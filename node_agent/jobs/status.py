"""What became of one member, as the daemon reports it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from node_agent.jobs.spec import MemberKey, MemberSpec

_NOT_FOUND_EXIT_CODE = 127
_ABSURD = 2.0**53


class MemberState(Enum):
    """Where a member is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class Outcome(Enum):
    """Why a member ended."""

    EXITED = "exited"
    SIGNALED = "signaled"
    OOM_KILLED = "oom_killed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    FENCED = "fenced"
    START_FAILED = "start_failed"
    SUPERVISOR_LOST = "supervisor_lost"


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One member's state.

    `outcome` is set once the member is stopping or ended. `exit_code` and `signal` exclude each other, and both are
    None when nothing is known. `runtime_seconds` counts from start to end (or to now) on the clock that runs on while
    the host sleeps; `gpu_seconds` is that times `gpus`, of which a part counts as a part. `peak_memory_bytes` is the
    cgroup's figure, page cache included, or else the largest single process. `limits_enforced` names those of "memory",
    "cpu" and "pids" that the host really holds the job to. `log_bytes` and `log_dropped_bytes` are known at the end.
    """

    key: MemberKey
    job_id: str
    epoch: int
    state: MemberState
    outcome: Outcome | None = None
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    runtime_seconds: float = 0.0
    gpu_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    limits_enforced: frozenset[str] = frozenset()
    message: str = ""
    pid: int | None = None
    gpu_uuids: tuple[str, ...] = ()
    gpus: float = 0.0
    log_bytes: int | None = None
    log_dropped_bytes: int = 0
    acknowledged: bool = False

    @property
    def ended(self) -> bool:
        """Whether the member is over: it will never change again."""
        return self.state is MemberState.ENDED

    @property
    def succeeded(self) -> bool:
        """Whether the command ran to its end and reported success."""
        return self.ended and self.outcome is Outcome.EXITED and self.exit_code == 0

    def at(self, started_boottime: float | None, now_boottime: float) -> "MemberStatus":
        """Return a member that still runs with the time that it has run until now."""
        if self.ended or started_boottime is None:
            return self
        runtime = max(0.0, now_boottime - started_boottime)
        return replace(self, runtime_seconds=runtime, gpu_seconds=runtime * self.gpus)


def waiting(spec: MemberSpec, message: str) -> MemberStatus:
    """Return the status of a member that is wanted and not started yet."""
    return _of(spec, MemberState.STARTING, message=message)


def never_started(spec: MemberSpec, outcome: Outcome, message: str, now: datetime) -> MemberStatus:
    """Return the status of a member that ended before anything ran."""
    return replace(_of(spec, MemberState.ENDED, message=message), outcome=outcome, ended_at=now)


_NUMBERS = (
    "exit_code",
    "signal",
    "started_at",
    "started_boottime",
    "ended_at",
    "runtime_seconds",
    "peak_memory_bytes",
    "pid",
    "log_bytes",
    "log_dropped_bytes",
)


def well_formed(raw: object) -> bool:
    """Say whether a status file holds what a supervisor writes: a job of the same user could have scribbled on it."""
    if not isinstance(raw, dict) or raw.get("state") not in {state.value for state in MemberState}:
        return False
    limits, init = raw.get("limits_enforced", []), raw.get("init")
    return (
        raw.get("outcome") in {None, *(outcome.value for outcome in Outcome)}
        and isinstance(raw.get("message", ""), str)
        and all(isinstance(raw.get(name), int | float | None) for name in _NUMBERS)
        and all(abs(raw.get(name) or 0) < _ABSURD for name in _NUMBERS)
        and isinstance(limits, list)
        and all(isinstance(limit, str) for limit in limits)
        and (init is None or (isinstance(init, list) and [type(part) for part in init] == [int, str]))
    )


def rejected(key: MemberKey, job_id: str, epoch: int, message: str, now: datetime) -> MemberStatus:
    """Return the status of a member whose specification was refused."""
    return MemberStatus(
        key, job_id, epoch, MemberState.ENDED, outcome=Outcome.START_FAILED, message=message, ended_at=now
    )


def from_file(spec: MemberSpec, raw: Mapping[str, Any], *, acknowledged: bool = False) -> MemberStatus:
    """Return the status that a supervisor wrote (the fields are those of supervisor/main.py)."""
    runtime = float(raw.get("runtime_seconds") or 0.0)
    outcome = Outcome(raw["outcome"]) if raw.get("outcome") else None
    message = raw.get("message", "")
    if not message and outcome is Outcome.EXITED and raw.get("exit_code") == _NOT_FOUND_EXIT_CODE:
        message = "exit code 127: the shell found no such command; check its name and PATH"
    return replace(
        _of(spec, MemberState(raw["state"]), message=message),
        outcome=outcome,
        exit_code=raw.get("exit_code"),
        signal=raw.get("signal"),
        oom_killed=bool(raw.get("oom_killed")),
        started_at=_time(raw.get("started_at")),
        ended_at=_time(raw.get("ended_at")),
        runtime_seconds=runtime,
        gpu_seconds=runtime * spec.gpus,
        peak_memory_bytes=raw.get("peak_memory_bytes"),
        limits_enforced=frozenset(raw.get("limits_enforced", ())),
        pid=raw.get("pid"),
        log_bytes=raw.get("log_bytes"),
        log_dropped_bytes=int(raw.get("log_dropped_bytes") or 0),
        acknowledged=acknowledged,
    )


def _of(spec: MemberSpec, state: MemberState, *, message: str) -> MemberStatus:
    return MemberStatus(
        key=spec.key,
        job_id=spec.job_id,
        epoch=spec.epoch,
        state=state,
        message=message,
        gpu_uuids=spec.gpu_uuids,
        gpus=spec.gpus,
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
