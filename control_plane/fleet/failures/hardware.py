"""Looks at how the hosts were when the attempt ended: a GPU that failed under a job explains what the job wrote."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from control_plane.fleet.failures.case import FailureCase, HostCondition
from control_plane.fleet.failures.finding import Finding, Rank
from control_plane.fleet.faults import APPLICATION_XIDS
from control_plane.model.diagnosis import EvidenceItem, EvidenceKind, FaultDomain
from control_plane.model.health import Condition, ConditionScope, ConditionSeverity
from control_plane.model.job import AllocationMember

_BEFORE = timedelta(minutes=10)
_AFTER = timedelta(minutes=2)


def hardware(case: FailureCase) -> Iterator[Finding]:
    """Yield the conditions that were raised under a member while it ran, or around its end."""
    attempt = case.attempt
    if attempt is None:
        return
    for host in case.conditions:
        for member in attempt.members:
            if member.node_id == host.node_id and _concerns(member, host) and in_time(member, host, attempt.ended_at):
                yield _finding(host, member)
                break


def _concerns(member: AllocationMember, host: HostCondition) -> bool:
    condition = host.condition
    if condition.severity is ConditionSeverity.INFO:
        return False
    if condition.scope is ConditionScope.HOST or not condition.gpu_uuid:
        return condition.severity is ConditionSeverity.FATAL
    return condition.gpu_uuid in member.gpu_uuids


def in_time(member: AllocationMember, host: HostCondition, ended_at: datetime | None) -> bool:
    """Tell whether a condition of a host was seen while a member ran there, shortly before or after its end."""
    end = member.ended_at or ended_at
    seen = host.condition
    if end is None:
        return True
    begun = (member.started_at or end) - _AFTER
    return seen.last_seen_at >= max(begun, end - _BEFORE) and seen.first_seen_at <= end + _AFTER


def _finding(host: HostCondition, member: AllocationMember) -> Finding:
    condition = host.condition
    own = condition.kind == "XID" and condition.code in APPLICATION_XIDS
    cause = cause_of(condition)
    told = condition.summary or condition.kind
    return Finding(
        rank=Rank.CAUSE if own else Rank.HARDWARE,
        cause=cause,
        fault=FaultDomain.JOB if own else FaultDomain.HARDWARE,
        summary=f"{told} on {host.node_name} under rank {member.rank}",
        advice="a kernel of the job is the likely cause; run it under compute-sanitizer"
        if own
        else "run the job again elsewhere; the fleet repairs the host, see: orquanta incident list",
        confidence=0.75 if own else 0.95 if condition.severity is ConditionSeverity.FATAL else 0.7,
        evidence=(
            EvidenceItem(host.evidence_id, EvidenceKind.CONDITION, told[:500], condition.first_seen_at),
            *(
                EvidenceItem(
                    f"{host.evidence_id}/{piece.id}", EvidenceKind.CONDITION, piece.text[:500], piece.observed_at
                )
                for piece in condition.evidence[:2]
            ),
        ),
        at=condition.first_seen_at,
    )


def cause_of(condition: Condition) -> str:
    """Return the code of a condition as a cause, for example XID_79."""
    if condition.kind == "XID" and condition.code:
        return f"XID_{condition.code}"
    return "".join(character if character.isalnum() else "_" for character in condition.kind).upper()
