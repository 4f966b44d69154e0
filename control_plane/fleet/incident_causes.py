"""Why an incident is, by rules, with the ids of what says so, and where these rules end. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

from control_plane.fleet.diagnosis import fitting
from control_plane.fleet.failures.hardware import cause_of
from control_plane.fleet.faults import APPLICATION_XIDS
from control_plane.fleet.ladder import asks
from control_plane.model.diagnosis import Diagnosis, EvidenceItem, EvidenceKind, FaultDomain
from control_plane.model.health import Authority, Condition, ConditionScope, ConditionSeverity
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.repair import Repair, RepairState, Rung

CAUSES: Final = (
    "COOLING",
    "DRIVER",
    "FIRMWARE",
    "GPU_BOARD",
    "GPU_MEMORY",
    "HOST_MEMORY",
    "KERNEL",
    "MISCONFIGURATION",
    "NETWORK",
    "NVLINK_FABRIC",
    "PCIE_LINK",
    "POWER_SUPPLY",
    "STORAGE",
    "WORKLOAD",
)
"""What a model may name for an incident, besides its own conditions."""

_CONDITIONS_MAX: Final = 6
_OBSERVATIONS_MAX: Final = 2
_REPAIRS_MAX: Final = 4
_TEXT: Final = 500

_UNKNOWN_CONFIDENCE: Final = 0.4
_SEVERAL_CONFIDENCE: Final = 0.5
_RULE_CONFIDENCE: Final = 0.85
_VENDOR_CONFIDENCE: Final = 0.95


def explain(incident: Incident) -> Diagnosis:
    """Return the root cause as rules see it; its confidence tells where they are at their end."""
    meant = in_question(incident)
    if not meant:
        return Diagnosis(
            cause="REPAIR_REQUESTED",
            summary=f"{incident.node_name}: a person has asked for a repair; nothing is seen to be wrong",
            advice=_settled(incident) or "nothing has to be done",
            fault=FaultDomain.PERSON,
            confidence=1.0,
            evidence=(EvidenceItem(f"incident:{incident.id}", EvidenceKind.INCIDENT, incident.summary[:_TEXT]),),
        )
    root = meant[0]
    others = tuple(dict.fromkeys(cause_of(one) for one in meant if cause_of(one) != cause_of(root)))
    end = where_rules_end(incident)
    told = f"{root.summary or root.kind} on {incident.node_name}"
    return Diagnosis(
        cause=cause_of(root),
        summary=f"{told}; {end}" if end else told,
        advice=_settled(incident) or _advice(incident, root),
        fault=_fault(root),
        confidence=_confidence(incident, root, meant),
        evidence=_evidence(incident, meant),
        alternatives=others[:3],
    )


def where_rules_end(incident: Incident) -> str:
    """Return why rules cannot tell the cause or what to do, or nothing where they can."""
    if incident.state is IncidentState.RESOLVED:
        return ""
    meant = in_question(incident)
    if meant and _is_unknown(meant):
        return "no rule and no catalogue says what fits"
    if _are_several(meant):
        return "several things are wrong at once, and no rule says which of them is the root"
    if meant and incident.state is IncidentState.ESCALATED and tried(incident):
        return "what fits was tried, and it is not over"
    return ""


def in_question(incident: Incident) -> tuple[Condition, ...]:
    """Return the conditions that the incident is about, the worst and oldest first: those that last, else all."""
    known = [one for one in incident.conditions if one.id in incident.active_ids] or list(incident.conditions)
    meant = [one for one in known if asks(one) or one.severity is ConditionSeverity.FATAL] or known
    return tuple(sorted(meant, key=lambda one: (-one.severity, one.first_seen_at, one.id)))


def tried(incident: Incident) -> tuple[Repair, ...]:
    """Return the repairs that have come to an end and were meant to help, oldest first."""
    ended = (RepairState.SUCCEEDED, RepairState.FAILED)
    return tuple(
        one for one in incident.repairs if one.state in ended and not one.dry_run and one.rung is not Rung.QUARANTINE
    )


def basis(incident: Incident) -> str:
    """Name what an answer of a model rests on: it is asked again when this has changed."""
    codes = ",".join(sorted({cause_of(one) for one in in_question(incident)}))
    return f"{incident.state is IncidentState.ESCALATED}/{len(tried(incident)) > 0}/{codes}"[:500]


def _is_unknown(meant: Collection[Condition]) -> bool:
    return all(one.repair is None and not one.vendor_action for one in meant)


def _are_several(meant: Collection[Condition]) -> bool:
    """Tell whether different things are wrong that do not ask for the same repair of the same thing."""
    causes = {cause_of(one) for one in meant}
    subjects = {one.gpu_uuid or one.subject for one in meant}
    return len(causes) > 1 and (len(subjects) > 1 or len({one.repair for one in meant}) > 1)


def _confidence(incident: Incident, root: Condition, meant: Collection[Condition]) -> float:
    if _is_unknown(meant) and incident.state is not IncidentState.RESOLVED:
        return _UNKNOWN_CONFIDENCE
    if where_rules_end(incident):
        return _SEVERAL_CONFIDENCE
    return _VENDOR_CONFIDENCE if root.authority in (Authority.DRIVER, Authority.CATALOGUE) else _RULE_CONFIDENCE


def _fault(root: Condition) -> FaultDomain:
    if root.kind == "XID" and root.code in APPLICATION_XIDS:
        return FaultDomain.JOB
    return FaultDomain.PLATFORM if root.scope is ConditionScope.HOST else FaultDomain.HARDWARE


def _settled(incident: Incident) -> str:
    if incident.state is IncidentState.RESOLVED:
        return f"nothing: it is over ({incident.status_reason})"
    return ""


def _advice(incident: Incident, root: Condition) -> str:
    fits = fitting(root)
    if incident.state is not IncidentState.ESCALATED:
        return fits
    return f"a person must act: {incident.status_reason.removeprefix('a person must act: ')}; {fits}"


def _evidence(incident: Incident, meant: Sequence[Condition]) -> tuple[EvidenceItem, ...]:
    found: list[EvidenceItem] = []
    for one in meant[:_CONDITIONS_MAX]:
        found.append(condition_item(incident, one))
        found += observation_items(incident, one)[:_OBSERVATIONS_MAX]
    return (*found, *(repair_item(one) for one in tried(incident)[-_REPAIRS_MAX:]))


def condition_item(incident: Incident, one: Condition) -> EvidenceItem:
    """Return a condition as evidence."""
    told = (one.summary or one.kind)[:_TEXT]
    return EvidenceItem(f"condition:{incident.node_id}/{one.id}", EvidenceKind.CONDITION, told, one.first_seen_at)


def observation_items(incident: Incident, one: Condition) -> list[EvidenceItem]:
    """Return what was seen behind a condition."""
    return [
        EvidenceItem(
            f"condition:{incident.node_id}/{one.id}/{piece.id}",
            EvidenceKind.CONDITION,
            piece.text[:_TEXT],
            piece.observed_at,
        )
        for piece in one.evidence
    ]


def repair_item(one: Repair) -> EvidenceItem:
    """Return a repair and what came of it as evidence."""
    steps = [f"{step.name} failed: {step.detail}" for step in one.steps if not step.ok][:2]
    checks = [f"{check.name} failed: {check.detail}" for check in one.checks if check.outcome.value == "failed"][:3]
    told = "; ".join([f"{one.rung.words}: {one.state.value}", *filter(None, [one.message]), *steps, *checks])
    return EvidenceItem(f"repair:{one.id}", EvidenceKind.REPAIR, told[:_TEXT], one.closed_at)
