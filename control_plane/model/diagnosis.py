"""Diagnoses: why something failed, with the evidence that says so."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

BY_RULES: Final = "rules"
"""Who found a diagnosis that no model had a part in."""


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
    REPAIR = "repair"


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

    `confidence` is 0 to 1; `diagnosed_by` is "rules" or a model's name: then cause, summary and advice are a model's
    words, and nothing may be done because of them alone. Evidence is empty only where the cause is UNKNOWN. `note` says
    what else is to be known of it, for example that a model was asked in vain.
    """

    cause: str
    summary: str
    advice: str
    fault: FaultDomain
    confidence: float
    evidence: tuple[EvidenceItem, ...]
    diagnosed_by: str = BY_RULES
    alternatives: tuple[str, ...] = ()
    note: str = ""

    @property
    def by_rules(self) -> bool:
        """Whether it was found by rules alone."""
        return self.diagnosed_by == BY_RULES
