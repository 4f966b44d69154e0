"""What the host does by itself while its control plane is out of reach: pure decisions from what was done before."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from node_agent.health.model import Condition, Rung, Severity
from node_agent.repair.ladder import LADDER, fits, next_rung
from node_agent.repair.model import Allowance, LocalPolicy, RepairState
from node_agent.repair.ports import HostJob
from node_agent.repair.rungs.restart_service import JOB_BEARING

FLAP_SECONDS: Final = 3_600.0
"""A condition that is back within this time after a repair that seemed to succeed did not get what it needed."""
MAXIMUM_FLAPS: Final = 2
"""After so many such returns nothing is tried any more: the host quarantines itself."""
MEMORY_SECONDS: Final = 24 * 3_600.0
"""After this, a condition starts again at the rung that it asks for."""
REFUSED_PAUSE_SECONDS: Final = 300.0
"""Between tries of a rung whose preconditions do not hold."""
MAXIMUM_REFUSALS: Final = 3
"""Refusals of one rung in a row, after which the next is tried."""
MAXIMUM_USES: Final = 500
"""Repairs that are kept; when so many are younger than `KEPT_SECONDS`, nothing is done any more."""
KEPT_SECONDS: Final = 90 * 24 * 3_600.0
"""Uses older than this count for nothing."""
_CLOCK_SLACK: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by both clocks: the wall clock may jump, the other is the same for one boot."""

    now: datetime
    monotonic_seconds: float
    boot_id: str


@dataclass(frozen=True, slots=True)
class Use:
    """A rung that the host climbed by itself, counted before it was begun."""

    repair_id: str
    rung: Rung
    condition_id: str
    moment: Moment
    outcome: RepairState | None = None
    """None until it has ended."""
    count_after: int = 0
    """How often the condition had been seen when the repair ended; 0 if it was gone then."""
    first_seen_after: datetime | None = None

    def age_seconds(self, moment: Moment) -> float:
        """Return how long ago it was. A wall clock that ran backwards makes it recent, never old.

        Within one boot the wall clock does not matter. Over a reboot, one that was set forward makes it look older: by
        less than the policy lives, for beyond that the policy has expired.
        """
        if self.moment.boot_id == moment.boot_id:
            return max(0.0, moment.monotonic_seconds - self.moment.monotonic_seconds)
        return max(0.0, (moment.now - self.moment.now).total_seconds())


@dataclass(frozen=True, slots=True)
class Climb:
    """Climb a rung for a condition."""

    rung: Rung
    condition: Condition
    reason: str
    may_stop_jobs: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing; `reason` is for a person, empty if there is nothing to do."""

    reason: str


def decide(
    conditions: Sequence[Condition],
    uses: Sequence[Use],
    policy: LocalPolicy | None,
    jobs: Sequence[HostJob],
    moment: Moment,
    *,
    node_id: str,
    link_down_seconds: float,
) -> Climb | Wait:
    """Decide what to do for the worst condition that something can be done for."""
    wanting = [condition for condition in conditions if _wants_repair(condition)]
    if not wanting:
        return Wait("")
    if policy is None:
        return Wait("there is no local policy: the host only watches")
    if obstacle := _obstacle(policy, moment, node_id):
        return Wait(obstacle)
    if link_down_seconds < policy.after_seconds:
        return Wait("")
    if is_quarantined(uses):
        return Wait("the host has quarantined itself: an operator or the control plane must look at it")
    uses = [use for use in uses if use.age_seconds(moment) < KEPT_SECONDS]
    if len(uses) >= MAXIMUM_USES:
        return Wait(f"{MAXIMUM_USES} repairs are remembered: the host only watches")
    return _for_worst(wanting, uses, policy, jobs, moment)


def _for_worst(
    wanting: list[Condition], uses: Sequence[Use], policy: LocalPolicy, jobs: Sequence[HostJob], moment: Moment
) -> Climb | Wait:
    if any(use.outcome is None for use in uses):
        return Wait("")  # one at a time
    wanting.sort(key=lambda condition: (-condition.severity, condition.first_seen_at, condition.id))
    reasons = []
    for condition in wanting:
        choice = _for_condition(condition, uses, policy, jobs, moment)
        if isinstance(choice, Climb):
            return choice
        if choice.reason:
            reasons.append(choice.reason)
    return Wait(reasons[0] if reasons else "")


def is_quarantined(uses: Sequence[Use]) -> bool:
    """Say whether the host has quarantined itself."""
    return any(use.rung is Rung.QUARANTINE for use in uses)


def is_valid(policy: LocalPolicy | None, moment: Moment, node_id: str) -> bool:
    """Say whether a policy allows anything now."""
    return policy is not None and not _obstacle(policy, moment, node_id)


def jobs_hurt(rung: Rung, condition: Condition, jobs: Sequence[HostJob]) -> tuple[HostJob, ...]:
    """Return the jobs that a rung would stop or hurt."""
    match rung:
        case Rung.STOP_PROCESS:
            named = set(condition.process_ids)
            return tuple(job for job in jobs if named & job.process_ids)
        case Rung.RESET_GPU:
            return tuple(job for job in jobs if condition.gpu_uuid in job.gpu_uuids)
        case Rung.RESTART_SERVICE:
            return tuple(jobs) if condition.service in JOB_BEARING else ()
        case Rung.RELOAD_DRIVER | Rung.REBOOT_HOST:
            return tuple(jobs)
        case _:
            return ()


def _wants_repair(condition: Condition) -> bool:
    return (
        condition.severity >= Severity.WARNING
        and not condition.acknowledged_by
        and condition.repair in LADDER
        and condition.repair is not Rung.MOVE_JOB
    )


def _obstacle(policy: LocalPolicy, moment: Moment, node_id: str) -> str:
    if policy.node_id != node_id:
        return "the local policy is for another node: the host only watches"
    if moment.now >= policy.expires_at:
        return f"the local policy expired at {policy.expires_at.isoformat()}: the host only watches"
    if moment.now < policy.issued_at - _CLOCK_SLACK:
        return "the clock is before the local policy was signed: the host only watches until the clock is right"
    return ""


def _for_condition(
    condition: Condition, uses: Sequence[Use], policy: LocalPolicy, jobs: Sequence[HostJob], moment: Moment
) -> Climb | Wait:
    history = [use for use in uses if use.condition_id == condition.id and use.age_seconds(moment) < MEMORY_SECONDS]
    chosen = _rung(condition, history, policy.allowances, moment)
    if isinstance(chosen, Wait):
        return chosen
    rung, reason = chosen
    if rung is Rung.QUARANTINE:
        return Climb(rung, condition, reason, may_stop_jobs=False)
    if obstacle := _not_allowed(rung, uses, policy, moment):
        return Wait(f"{condition.id} needs {rung.name}, but {obstacle}")
    may_stop_jobs = policy.allowances[rung].may_stop_jobs
    hurt = jobs_hurt(rung, condition, jobs)
    if hurt and not may_stop_jobs:
        return Wait(f"{condition.id} needs {rung.name}, but it would stop {hurt[0].job_id}, which the policy forbids")
    return Climb(rung, condition, reason, may_stop_jobs)


def _rung(
    condition: Condition, history: Sequence[Use], allowed: Collection[Rung], moment: Moment
) -> tuple[Rung, str] | Wait:
    """Return the rung whose turn it is, and why."""
    asked = condition.repair
    assert asked is not None
    last = history[-1] if history else None
    if last is None or (last.outcome is RepairState.SUCCEEDED and last.age_seconds(moment) >= FLAP_SECONDS):
        if not fits(asked, condition):
            return Wait(f"{condition.id} asks for {asked.name}, but does not say for what")
        return asked, condition.summary
    if last.outcome is RepairState.FAILED:
        return next_rung(condition, last.rung, allowed), f"{last.rung.name} did not help: {condition.summary}"
    if last.outcome is RepairState.REFUSED:
        return _after_refusal(condition, history, allowed, moment)
    if condition.count <= last.count_after and condition.first_seen_at == last.first_seen_after:
        return Wait("")  # not seen since the repair
    if _flaps(history) >= MAXIMUM_FLAPS:
        return Rung.QUARANTINE, f"it came back after {MAXIMUM_FLAPS} repairs: {condition.summary}"
    return next_rung(condition, last.rung, allowed), f"it came back after {last.rung.name}: {condition.summary}"


def _after_refusal(
    condition: Condition, history: Sequence[Use], allowed: Collection[Rung], moment: Moment
) -> tuple[Rung, str] | Wait:
    last = history[-1]
    refusals = 0
    for use in reversed(history):
        if use.outcome is not RepairState.REFUSED or use.rung is not last.rung:
            break
        refusals += 1
    if refusals >= MAXIMUM_REFUSALS:
        return next_rung(condition, last.rung, allowed), f"{last.rung.name} cannot be done: {condition.summary}"
    if last.age_seconds(moment) < REFUSED_PAUSE_SECONDS:
        return Wait("")
    return last.rung, f"another try: {condition.summary}"


def _flaps(history: Sequence[Use]) -> int:
    return sum(use.outcome is RepairState.SUCCEEDED for use in history)


def _not_allowed(rung: Rung, uses: Sequence[Use], policy: LocalPolicy, moment: Moment) -> str:
    allowance: Allowance | None = policy.allowances.get(rung)
    if allowance is None:
        return "the policy does not allow it"
    spent = [use for use in uses if use.rung is not Rung.QUARANTINE]
    of_rung = sum(use.rung is rung and use.age_seconds(moment) < allowance.period_seconds for use in spent)
    if of_rung >= allowance.count:
        return (
            f"it was done {of_rung} times within {allowance.period_seconds:.0f} s, which is all that the policy allows"
        )
    of_all = sum(use.age_seconds(moment) < policy.total_period_seconds for use in spent)
    if of_all >= policy.total_count:
        return f"{of_all} repairs were done within {policy.total_period_seconds:.0f} s, all that the policy allows"
    return ""
