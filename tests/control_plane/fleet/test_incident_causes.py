"""The root cause of an incident by rules, with the ids of what says so, and where these rules end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.fleet.failures.causes import SURE
from control_plane.fleet.incident_causes import basis, explain, where_rules_end
from control_plane.fleet.incident_shown import of_incident
from control_plane.model.diagnosis import EvidenceKind, FaultDomain
from control_plane.model.health import Condition, ConditionScope, ConditionSeverity, HealthEvent, HealthEventKind
from control_plane.model.ids import INCIDENT, NODE, REPAIR, derived_id
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.repair import Repair, RepairOrigin, RepairState, RepairStep, Rung
from tests.control_plane.clinic import condition

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
NODE_ID = derived_id(NODE, "alpha")
XID_79 = condition("xid-79", NOW, gpu_uuid="GPU-0", code=79)
UNKNOWN = condition("xid-999", NOW, gpu_uuid="GPU-0", code=999, repair=None)
DISK = condition("disk", NOW - timedelta(seconds=5), kind="DISK_FAILED", repair=Rung.REBOOT_HOST)
WARNING = condition("warm", NOW, kind="THERMAL", severity=ConditionSeverity.WARNING, repair=None)


def incident(*conditions: Condition, state: IncidentState = IncidentState.OPEN, repairs: int = 0) -> Incident:
    """An incident with these conditions, and so many repairs that did not help."""
    return Incident(
        id=derived_id(INCIDENT, "one"),
        node_id=NODE_ID,
        node_name="alpha",
        state=state,
        summary="alpha: trouble",
        diagnosis="",
        status_reason="a person must act: the last rung of the ladder is reached",
        observed_at=NOW,
        opened_at=NOW,
        version=1,
        conditions=conditions,
        active_ids=frozenset(one.id for one in conditions),
        repairs=tuple(
            Repair(
                derived_id(REPAIR, str(number)), NODE_ID, None, None, RepairOrigin.CONTROL_PLANE, Rung.RESET_GPU,
                RepairState.FAILED, "", NOW, message="it did not come back",
                steps=(RepairStep("reset", False, "nvidia-smi: exit code 3", NOW, 1.0),), closed_at=NOW,
            )
            for number in range(repairs)
        ),
    )  # fmt: skip


def test_a_fault_that_the_catalogue_knows_is_told_with_its_evidence_and_what_fits() -> None:
    found = explain(incident(XID_79, WARNING))

    assert (found.cause, found.fault, found.by_rules) == ("XID_79", FaultDomain.HARDWARE, True)
    assert found.confidence > SURE
    assert [one.id for one in found.evidence] == [
        f"condition:{NODE_ID}/xid-79",
        f"condition:{NODE_ID}/xid-79/ev-xid-79",
    ]
    assert "reset gpu" in found.advice
    assert where_rules_end(incident(XID_79, WARNING)) == ""


ENDS = {
    "an unknown code": (incident(UNKNOWN), "XID_999", "no catalogue"),
    "several things at once": (incident(XID_79, DISK), "DISK_FAILED", "several things"),
    "the end of the ladder": (incident(XID_79, state=IncidentState.ESCALATED, repairs=2), "XID_79", "was tried"),
}


@pytest.mark.parametrize("name", ENDS)
def test_rules_say_where_they_end(name: str) -> None:
    case, cause, why = ENDS[name]
    found = explain(case)

    assert found.cause == cause
    assert why in where_rules_end(case)
    assert why in found.summary
    assert found.confidence < SURE
    assert found.evidence
    assert found.advice


def test_what_is_wrong_with_one_gpu_and_asks_for_one_repair_is_one_thing() -> None:
    both = incident(XID_79, condition("lost", NOW, gpu_uuid="GPU-0", kind="GPU_LOST"))
    assert where_rules_end(both) == ""


def test_an_incident_that_is_over_needs_nobody() -> None:
    over = incident(UNKNOWN, state=IncidentState.RESOLVED)
    assert where_rules_end(over) == ""
    assert explain(over).advice.startswith("nothing: it is over")


def test_a_repair_that_a_person_asked_for_has_that_person_as_its_cause() -> None:
    found = explain(incident())
    assert (found.cause, found.fault) == ("REPAIR_REQUESTED", FaultDomain.PERSON)
    assert found.evidence[0].kind is EvidenceKind.INCIDENT


def test_repairs_that_failed_are_evidence_with_what_failed_in_them() -> None:
    found = explain(incident(XID_79, state=IncidentState.ESCALATED, repairs=1))
    (repair,) = (one for one in found.evidence if one.kind is EvidenceKind.REPAIR)
    assert "reset gpu: failed; it did not come back; reset failed: nvidia-smi: exit code 3" in repair.text
    assert "a person must act: the last rung" in found.advice


def test_an_answer_rests_on_what_is_wrong_and_not_on_how_often_it_was_seen() -> None:
    one = incident(UNKNOWN)
    assert basis(one) == basis(incident(replace(UNKNOWN, count=99, last_seen_at=NOW + timedelta(hours=1))))
    assert basis(one) != basis(replace(one, state=IncidentState.ESCALATED))
    assert basis(one) != basis(incident(UNKNOWN, DISK))


def test_what_is_shown_of_an_incident_is_bounded_and_has_an_id_each() -> None:
    many = [condition(f"c{number}", NOW, gpu_uuid=f"GPU-{number}") for number in range(60)]
    changes = [HealthEvent(f"h{number}", HealthEventKind.RAISED, many[0], NOW) for number in range(60)]
    pieces = of_incident(incident(*many, repairs=9), changes, ())

    assert len(pieces) <= 40
    assert len({piece.item.id for piece in pieces}) == len(pieces)
    assert {piece.item.kind for piece in pieces} == {EvidenceKind.CONDITION, EvidenceKind.REPAIR, EvidenceKind.EVENT}


def test_a_fault_of_a_program_is_no_fault_of_the_hardware() -> None:
    assert explain(incident(replace(XID_79, code=31))).fault is FaultDomain.JOB
    assert explain(incident(replace(DISK, scope=ConditionScope.HOST))).fault is FaultDomain.PLATFORM
