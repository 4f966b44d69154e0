"""Diagnoses from the wire."""

from orquanta.convert.scalars import read_time
from orquanta.types.diagnoses import Diagnosis, DiagnosisEvidence
from orquanta.v1 import diagnosis_pb2 as pb


def read_diagnosis(message: pb.Diagnosis) -> Diagnosis:
    """One diagnosis."""
    return Diagnosis(
        cause=message.cause,
        summary=message.summary,
        advice=message.advice,
        fault=message.fault,
        confidence=message.confidence,
        evidence=tuple(
            DiagnosisEvidence(id=item.id, kind=item.kind, text=item.text, seen_at=read_time(item.seen_at))
            for item in message.evidence
        ),
        diagnosed_by=message.diagnosed_by,
        alternatives=tuple(message.alternatives),
        note=message.note,
    )
