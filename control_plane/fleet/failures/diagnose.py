"""Puts the findings together: the one nearest to the root is the cause, the others are what it brought with it."""

from collections.abc import Iterable
from datetime import UTC, datetime

from control_plane.fleet.failures.case import FailureCase
from control_plane.fleet.failures.facts import facts
from control_plane.fleet.failures.finding import Finding
from control_plane.fleet.failures.hardware import hardware
from control_plane.fleet.failures.output import output
from control_plane.model.diagnosis import Diagnosis, EvidenceKind, FaultDomain
from control_plane.model.job import JobState

_EVIDENCE_MAX = 8
_ALTERNATIVES_MAX = 3
_LATE = datetime.max.replace(tzinfo=UTC)


def diagnose(case: FailureCase) -> Diagnosis:
    """Return why the job failed, with the evidence that says so. UNKNOWN, without evidence, if nothing does.

    A job that has not failed, and lost no attempt, is NOT_FAILED.
    """
    findings = sorted((*facts(case), *hardware(case), *output(case)), key=_nearness)
    if not findings and case.job.state is not JobState.FAILED:
        return Diagnosis(
            cause="NOT_FAILED",
            summary=f"the job has not failed: it is {case.job.state.value}",
            advice="",
            fault=FaultDomain.UNKNOWN,
            confidence=1.0,
            evidence=(),
        )
    if not findings:
        return Diagnosis(
            cause="UNKNOWN",
            summary="nothing that is known of this job says why it failed",
            advice="read what it wrote: orquanta job logs",
            fault=FaultDomain.UNKNOWN,
            confidence=0.0,
            evidence=(),
        )
    root = findings[0]
    same = [other for other in findings if other.cause == root.cause]
    evidence = {item.id: item for finding in same for item in finding.evidence}
    return Diagnosis(
        cause=root.cause,
        summary=root.summary,
        advice=root.advice,
        fault=root.fault,
        confidence=root.confidence,
        evidence=tuple(evidence.values())[:_EVIDENCE_MAX],
        alternatives=_others(root, findings),
    )


def _nearness(finding: Finding) -> tuple[int, datetime, float]:
    return finding.rank, finding.at or _LATE, -finding.confidence


def _others(root: Finding, findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return causes of the same rank as the root's: what it may also have been.

    Where a host knows of a fault, what the job wrote about that is the same fault, seen from inside.
    """
    same_rank = [one for one in findings if one.rank is root.rank and one.cause != root.cause]
    rivals = same_rank if _written(root) else [one for one in same_rank if not _written(one)]
    return tuple(dict.fromkeys(one.cause for one in rivals))[:_ALTERNATIVES_MAX]


def _written(finding: Finding) -> bool:
    return all(item.kind is EvidenceKind.LOG for item in finding.evidence)
