"""What is remembered of an incident, a goal and a failed job: typed fields in fixed words, and what each came to. Pure.

Nothing that a stranger wrote gets in: no log line, no goal's text, no job's name, no message of a host.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from control_plane.fleet.remembered import (
    gpu_type_of,
    node_class_of,
    symptom_of,
    symptoms_of,
    tool_of,
)
from control_plane.fleet.repair_rules import was_given_up
from control_plane.model.diagnosis import Diagnosis, FaultDomain
from control_plane.model.goal import Bill, Goal, GoalState
from control_plane.model.health import ConditionSeverity
from control_plane.model.ids import MEMORY, derived_id
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.job import Job
from control_plane.model.memory import Memory, MemoryAction, MemoryKind, MemoryOutcome
from control_plane.model.money import format_usd
from control_plane.model.node import Node
from control_plane.model.plan import Intent
from control_plane.model.repair import CheckOutcome, Repair, RepairState, Rung

QUIET: Final = timedelta(minutes=15)
"""What was repaired is fixed only if it stays so for this long."""

_EVIDENCE_MAX: Final = 16
_OUTCOMES: Final = {GoalState.SUCCEEDED: MemoryOutcome.FIXED, GoalState.FAILED: MemoryOutcome.FAILED}
_WORDS: Final = {
    MemoryOutcome.FIXED: "fixed it",
    MemoryOutcome.FAILED: "failed",
    MemoryOutcome.WORSE: "made it worse",
    MemoryOutcome.UNKNOWN: "did nothing or nobody knows what",
}
_TO_DO: Final = {
    Intent.FINETUNE: "fine-tune",
    Intent.INFERENCE: "serve a model",
    Intent.BATCH: "run a batch",
}
_FAULTS: Final = {
    FaultDomain.JOB: "the job itself",
    FaultDomain.PLATFORM: "the platform",
    FaultDomain.HARDWARE: "the hardware",
    FaultDomain.PROVIDER: "the provider",
    FaultDomain.PERSON: "a person",
    FaultDomain.UNKNOWN: "nobody known",
}
_MINUTE: Final = 60
_HOUR: Final = 3_600
_SHORT: Final = 120  # seconds: what is shorter is told in seconds


@dataclass(frozen=True, slots=True)
class Terms:
    """When a memory is written, and how long it is kept."""

    now: datetime
    lifetime: timedelta


def of_incident(incident: Incident, node: Node, later: Collection[Incident], terms: Terms) -> Memory | None:
    """Return the memory of an ended incident; None if it was about no fault.

    `later` are incidents of the node that began within QUIET after it: of the same fault, they say that it came back.
    """
    if not incident.conditions:
        return None
    came_back = any(_same_fault(incident, one) for one in later)
    actions = _actions(incident, came_back=came_back)
    outcome = _outcome(incident, actions)
    worst = incident.conditions[0]
    symptoms = symptoms_of(incident.conditions)
    node_class = node_class_of(node)
    done = ", then ".join(f"{one.tool} {_WORDS[one.result]}" for one in actions) or "nothing was repaired"
    end = "a person had to act" if incident.state is IncidentState.ESCALATED else "resolved"
    quiet = "; it came back soon after" if came_back else ""
    return Memory(
        id=derived_id(MEMORY, incident.id),
        tenant="",
        kind=MemoryKind.INCIDENT,
        text=f"Fault {', '.join(symptoms)} on {node.name} ({node_class or 'GPUs not known'}): {done}; {end}{quiet}.",
        symptoms=symptoms,
        root_cause=symptom_of(worst),
        actions=actions,
        outcome=outcome,
        gpu_type=gpu_type_of(node, [one for one in incident.conditions if one.repair is not None]),
        node_class=node_class,
        evidence_ids=(f"incident:{incident.id}", *(f"repair:{one.id}" for one in incident.repairs))[:_EVIDENCE_MAX],
        source=incident.id,
        created_at=incident.closed_at or terms.now,
        expires_at=terms.now + terms.lifetime,
    )


def of_goal(goal: Goal, bill: Bill, terms: Terms) -> Memory | None:
    """Return the memory of an ended goal, its owner's own; None if it launched nothing."""
    if goal.plan is None or not bill.lines:
        return None
    types = sorted({line.gpu_type for line in bill.lines if line.gpu_type})
    most = max(line.gpu_count for line in bill.lines)
    intent = goal.plan.intent.value
    outcome = _OUTCOMES.get(goal.state, MemoryOutcome.UNKNOWN)
    took = _span((goal.updated_at - goal.created_at).total_seconds(), "")
    where = f"{most}x {' + '.join(types) or 'any GPU'}" if most else "no GPU"
    jobs = len({line.job_id for line in bill.lines})
    many = f" with {jobs} jobs" if jobs > 1 else ""
    own = all(job.command is None and job.image is None for job in goal.plan.jobs)
    by = " by the built-in template, a demonstration," if own else ""
    return Memory(
        id=derived_id(MEMORY, goal.id),
        tenant=goal.user_id,
        kind=MemoryKind.GOAL_OUTCOME,
        text=f"A goal to {_TO_DO.get(goal.plan.intent, intent)}{many} on {where}{by} {goal.state.value} after {took}; "
        f"it used {_span(bill.gpu_seconds, 'GPU-')} and cost {format_usd(bill.cost_usd)}.",
        symptoms=(f"goal:{intent}", f"gpus:{most}", *(f"gpu:{one.lower()}" for one in types)),
        root_cause="",
        actions=(MemoryAction(f"launch_{intent}", outcome),),
        outcome=outcome,
        gpu_type=types[0] if len(types) == 1 else "",
        node_class="",
        evidence_ids=(f"goal:{goal.id}", *dict.fromkeys(f"job:{line.job_id}" for line in bill.lines))[:_EVIDENCE_MAX],
        source=goal.id,
        created_at=goal.updated_at,
        expires_at=terms.now + terms.lifetime,
    )


def of_job(job: Job, diagnosis: Diagnosis, ended_at: datetime, terms: Terms) -> Memory:
    """Return the memory of a failed job, its owner's own; of a cause that a model named, only that it is not known."""
    last = job.allocations[-1] if job.allocations else None
    gpu_type = last.gpu_type if last is not None else ""
    count = job.spec.resources.gpu_count
    cause = diagnosis.cause if diagnosis.by_rules else "UNKNOWN"
    where = f"{count}x {gpu_type or 'GPU'}" if count else "no GPU"
    lies = f"the fault lies with {_FAULTS[diagnosis.fault]}, {diagnosis.confidence:.0%} sure"
    why = (
        f"{cause.lower().replace('_', ' ')}; {lies}. Advice: {diagnosis.advice.rstrip('.')}"
        if cause != "UNKNOWN"
        else ""
    )
    return Memory(
        id=derived_id(MEMORY, job.id),
        tenant=job.user_id,
        kind=MemoryKind.JOB_FAILURE,
        text=f"A job on {where} failed in attempt {job.epoch}: {why or 'why is not known'}.",
        symptoms=(f"job:{cause.lower()}", f"fault:{diagnosis.fault.value}"),
        root_cause=cause,
        actions=(),
        outcome=MemoryOutcome.FAILED,
        gpu_type=gpu_type,
        node_class=f"{count}x {gpu_type}" if gpu_type else "",
        evidence_ids=(f"job:{job.id}", *(item.id for item in diagnosis.evidence))[:_EVIDENCE_MAX],
        source=job.id,
        created_at=ended_at,
        expires_at=terms.now + terms.lifetime,
    )


def _span(seconds: float, unit: str) -> str:
    """Return a length of time as a person says it, with `unit` before its unit: "4 GPU-minutes"."""
    if seconds < _SHORT:
        number, name = f"{seconds:.0f}", "second"
    elif seconds < 2 * _HOUR:
        number, name = f"{seconds / _MINUTE:.0f}", "minute"
    else:
        number, name = f"{seconds / _HOUR:.1f}", "hour"
    return f"{number} {unit}{name}{'' if number == '1' else 's'}"


def _actions(incident: Incident, *, came_back: bool) -> tuple[MemoryAction, ...]:
    done = sorted((one for one in incident.repairs if not one.dry_run), key=lambda one: one.ordered_at)
    found: list[MemoryAction] = []
    for number, repair in enumerate(done):
        result = _result(incident, repair, done[number + 1 :], came_back=came_back)
        # What was refused and tried again is one thing that was done.
        if found and found[-1].tool == tool_of(repair.rung):
            found.pop()
        found.append(MemoryAction(tool_of(repair.rung), result))
    return tuple(found)


def _result(incident: Incident, repair: Repair, after: Sequence[Repair], *, came_back: bool) -> MemoryOutcome:
    if repair.state is RepairState.REFUSED or repair.rung in (Rung.MOVE_JOB, Rung.QUARANTINE):
        return MemoryOutcome.UNKNOWN
    if repair.state is RepairState.FAILED:
        if was_given_up(repair) and repair.started_at is None:
            return MemoryOutcome.UNKNOWN  # it was never begun, or its host was never heard of
        return MemoryOutcome.WORSE if _got_worse(incident, repair) else MemoryOutcome.FAILED
    verified = any(check.outcome is CheckOutcome.PASSED for check in repair.checks)
    went_on = any(one.rung not in (Rung.VERIFY, Rung.MOVE_JOB) for one in after)
    if went_on or came_back:
        return MemoryOutcome.FAILED
    fixed = verified and incident.state is IncidentState.RESOLVED
    return MemoryOutcome.FIXED if fixed else MemoryOutcome.UNKNOWN


def _got_worse(incident: Incident, repair: Repair) -> bool:
    """Whether something fatal was first seen while it ran that was not there before."""
    begun, ended = repair.started_at, repair.ended_at
    if begun is None or ended is None:
        return False
    before = {symptom_of(one) for one in incident.conditions if one.first_seen_at <= begun}
    fatal = [one for one in incident.conditions if one.severity is ConditionSeverity.FATAL]
    return any(begun < one.first_seen_at <= ended and symptom_of(one) not in before for one in fatal)


def _outcome(incident: Incident, actions: Sequence[MemoryAction]) -> MemoryOutcome:
    tried = [one.result for one in actions if one.result is not MemoryOutcome.UNKNOWN]
    if not tried:
        return MemoryOutcome.UNKNOWN
    if incident.state is IncidentState.ESCALATED and tried[-1] is MemoryOutcome.FIXED:
        return MemoryOutcome.UNKNOWN
    return tried[-1]


def _same_fault(incident: Incident, later: Incident) -> bool:
    symptoms = set(symptoms_of(incident.conditions))
    same = not symptoms.isdisjoint(symptoms_of(later.conditions))
    gpus, others = set(incident.gpu_uuids), set(later.gpu_uuids)
    return same and (not gpus or not others or not gpus.isdisjoint(others))
