"""Incidents: troubles of nodes, from the first sign to their end."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from control_plane.model.health import Condition
from control_plane.model.ids import IncidentId, NodeId
from control_plane.model.repair import Repair


class IncidentState(Enum):
    """Where an incident is in its life."""

    OPEN = "open"
    REPAIRING = "repairing"
    VERIFYING = "verifying"
    RESOLVED = "resolved"
    ESCALATED = "escalated"

    @property
    def ended(self) -> bool:
        """Whether nothing more is done about it without a person."""
        return self in (IncidentState.RESOLVED, IncidentState.ESCALATED)


@dataclass(frozen=True, slots=True)
class IncidentEntry:
    """One entry of an incident's history, by the control plane's clock."""

    at: datetime
    kind: str
    message: str
    action_id: str = ""
    repair_id: str = ""


@dataclass(frozen=True, slots=True)
class IncidentTimings:
    """How long each phase took, in seconds; None while it has not ended or never came."""

    detect_seconds: float | None = None
    cordon_seconds: float | None = None
    drain_seconds: float | None = None
    repair_seconds: float | None = None
    verify_seconds: float | None = None
    total_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """A trouble of one node. At most one that has not ended per node.

    `conditions` are those it is about, worst first, each as it was last seen; `active_ids` those of them that are not
    over. `observed_at` is the host's first observation. `gpu_uuids` empty means the whole host. `requested_by` is the
    person who asked for a repair without a condition.
    """

    id: IncidentId
    node_id: NodeId
    node_name: str
    state: IncidentState
    summary: str
    diagnosis: str
    status_reason: str
    observed_at: datetime
    opened_at: datetime
    version: int
    conditions: tuple[Condition, ...] = ()
    active_ids: frozenset[str] = frozenset()
    gpu_uuids: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    entries: tuple[IncidentEntry, ...] = ()
    acknowledged_by: str = ""
    taken_over: bool = False
    requested_by: str = ""
    cordoned_at: datetime | None = None
    drained_at: datetime | None = None
    closed_at: datetime | None = None
