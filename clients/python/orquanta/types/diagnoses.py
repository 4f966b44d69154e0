"""Diagnoses: why something failed, with what says so."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DiagnosisEvidence:
    """What a diagnosis rests on. `text` may be a stranger's words."""

    id: str
    kind: str
    text: str
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why something failed: `cause` is a stable code, `fault` where it lies, `confidence` 0 to 1.

    `diagnosed_by` is "rules" or a model's name: then cause, summary and advice are the model's words. `note` says what
    else is to be known of it, for example that a model was asked in vain.
    """

    cause: str
    summary: str
    advice: str
    fault: str
    confidence: float
    evidence: tuple[DiagnosisEvidence, ...]
    diagnosed_by: str
    alternatives: tuple[str, ...]
    note: str = ""

    @property
    def by_rules(self) -> bool:
        """Whether it was found by rules alone."""
        return self.diagnosed_by == "rules"
