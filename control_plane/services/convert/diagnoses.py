"""Diagnoses on the wire."""

from control_plane.model.diagnosis import Diagnosis
from control_plane.services.convert.scalars import timestamp
from orquanta.v1 import diagnosis_pb2


def diagnosis(value: Diagnosis) -> diagnosis_pb2.Diagnosis:
    """Return a diagnosis."""
    return diagnosis_pb2.Diagnosis(
        cause=value.cause,
        summary=value.summary,
        advice=value.advice,
        fault=value.fault.value,
        confidence=value.confidence,
        evidence=[
            diagnosis_pb2.DiagnosisEvidence(
                id=item.id, kind=item.kind.value, text=item.text, seen_at=timestamp(item.seen_at)
            )
            for item in value.evidence
        ],
        diagnosed_by=value.diagnosed_by,
        alternatives=value.alternatives,
        note=value.note,
    )
