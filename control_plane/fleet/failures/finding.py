"""What a rule found: a cause that may be the one."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from control_plane.model.diagnosis import EvidenceItem, FaultDomain


class Rank(IntEnum):
    """How near a finding is to the root. A nearer one explains those behind it."""

    FACT = 1
    """A host or the control plane reported it; nothing lies behind it."""
    HARDWARE = 2
    """A GPU or host failed under the job: errors in its output are what that looks like from inside."""
    CAUSE = 3
    """The program said what went wrong."""
    CONSEQUENCE = 4
    """Something that other failures bring with them, such as a collective that timed out."""
    HINT = 5
    """How the process ended, and nothing more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A possible cause with its evidence. `at` orders findings of the same rank: the first one is the cause."""

    rank: Rank
    cause: str
    fault: FaultDomain
    summary: str
    advice: str
    confidence: float
    evidence: tuple[EvidenceItem, ...]
    at: datetime | None = None
