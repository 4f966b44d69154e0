"""Diagnoses: why something failed, with the evidence that says so."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EvidenceKind(StrEnum):
    """What a piece of evidence is."""

    LOG = "log"
    TELEMETRY = "telemetry"
    EVENT = "event"
    CONDITION = "condition"
    INCIDENT = "incident"
    ACTION = "action"
    MEMORY = "memory"
    JOB = "job"


class FaultDomain(StrEnum):
    """Where a fault lies."""

    JOB = "job"
    PLATFORM = "platform"
    HARDWARE = "hardware"
    PROVIDER = "provider"
    PERSON = "person"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """One observation. `id` is stable and can be cited; `text` may be a stranger's words, at most 500 characters."""

    id: str
    kind: EvidenceKind
    text: str
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why something failed. `cause` is a stable code such as GPU_OUT_OF_MEMORY, NCCL_TIMEOUT, XID_79 or UNKNOWN.

    `confidence` is 0 to 1; `diagnosed_by` is "rules" or a model's name. Evidence is empty only where the cause is
    UNKNOWN.
    """

    cause: str
    summary: str
    advice: str
    fault: FaultDomain
    confidence: float
    evidence: tuple[EvidenceItem, ...]
    diagnosed_by: str = "rules"
    alternatives: tuple[str, ...] = ()
