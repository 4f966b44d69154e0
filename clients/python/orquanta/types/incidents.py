"""Incidents: troubles of nodes, from the first sign to their end."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orquanta.types.diagnoses import Diagnosis
from orquanta.types.health import Condition
from orquanta.types.repairs import Repair


class IncidentState(StrEnum):
    """Where an incident is in its life; `escalated` means that a person must act."""

    UNKNOWN = "unknown"
    OPEN = "open"
    REPAIRING = "repairing"
    VERIFYING = "verifying"
    RESOLVED = "resolved"
    ESCALATED = "escalated"

    @property
    def ended(self) -> bool:
        """True once nothing more is done about it without a person."""
        return self in {IncidentState.RESOLVED, IncidentState.ESCALATED}


@dataclass(frozen=True, slots=True)
class IncidentEntry:
    """One entry of an incident's history, such as `cordoned` or `repair.succeeded`."""

    at: datetime | None
    kind: str
    message: str
    action_id: str
    repair_id: str


@dataclass(frozen=True, slots=True)
class IncidentTimings:
    """How long each phase took; None while it has not ended or never came.

    `detect_seconds` runs from the host's first observation to the control plane's books, `cordon_seconds` from there
    until it was out of scheduling, `drain_seconds` until its jobs were away; `total_seconds` from the first
    observation to the end.
    """

    detect_seconds: float | None
    cordon_seconds: float | None
    drain_seconds: float | None
    repair_seconds: float | None
    verify_seconds: float | None
    total_seconds: float | None


@dataclass(frozen=True, slots=True)
class Incident:
    """A trouble of one node.

    `diagnosis` cites the ids of evidence; `status_reason` says what it waits for, or how it ended. Conditions are
    worst first, repairs and entries oldest first. Without `gpu_uuids` it is about the whole host. While `taken_over`,
    the healing agent proposes nothing for it. `explanation` is its root cause, by rules or in a model's words; only
    getting one incident tells it.
    """

    id: str
    node_id: str
    node_name: str
    state: IncidentState
    summary: str
    diagnosis: str
    status_reason: str
    conditions: tuple[Condition, ...]
    gpu_uuids: tuple[str, ...]
    repairs: tuple[Repair, ...]
    entries: tuple[IncidentEntry, ...]
    timings: IncidentTimings
    acknowledged_by: str
    taken_over: bool
    opened_at: datetime | None
    closed_at: datetime | None
    version: int
    explanation: Diagnosis | None = None
