"""What the rules about a node's trouble look at, and the steps that they can say. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.model.health import Condition
from control_plane.model.incident import Incident
from control_plane.model.memory import Memory
from control_plane.model.node import Node
from control_plane.model.repair import Repair, Rung


@dataclass(frozen=True, slots=True)
class HealingPolicy:
    """How the healing agent goes about it.

    `automatic`: whether it repairs at all, or leaves that to people. `rungs` are those that it may climb.
    `settle_seconds`: how long a condition may take to end after a repair that succeeded.
    A condition that is back after it was over `flaps` times within `flap_seconds`, repaired or before that could begin,
    stops the ladder. `drain_seconds`: how long jobs may take to be gone beyond their own grace. A rung that a host
    refuses is tried again after `refused_seconds`, and given up after `refusals`.
    """

    automatic: bool = True
    rungs: frozenset[Rung] = frozenset(Rung) - {Rung.QUARANTINE}
    settle_seconds: float = 15.0
    flaps: int = 3
    flap_seconds: float = 6 * 3600.0
    drain_seconds: float = 120.0
    refusals: int = 3
    refused_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class View:
    """All that is looked at: one node, and what the books say about it at one moment.

    `repair` is the one that has not ended, `by_agent` whether an agent has ordered it; `grace_seconds` the longest
    grace of the jobs that are in its way, None if none is; `jobs_on_gpus` whether a job runs on what the conditions are
    about. `returns` counts, for each condition, how often it was over of late after something was ordered for it.
    `awaits` is an action of the agent's that a person has to approve, `rejected_by` who rejected the last one.
    `stopped` says that the kill switch is engaged, `owes_hand_off` that a quarantine has no report yet. `remembered`:
    memories of incidents that may be like this one.
    """

    node: Node
    conditions: tuple[Condition, ...] = ()
    incident: Incident | None = None
    repair: Repair | None = None
    by_agent: bool = False
    grace_seconds: float | None = None
    jobs_on_gpus: bool = False
    jobs_here: bool = False
    returns: Mapping[str, int] | None = None
    awaits: str = ""
    rejected_by: str = ""
    stopped: bool = False
    owes_hand_off: bool = False
    remembered: tuple[Memory, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """A trouble begins."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class OrderRepair:
    """Climb a rung.

    `remembered` says why another rung is passed over: it has failed on such a fault before. `instead` is what is done
    if this rung would be refused, or would need approval: memory must not lead there.
    """

    rung: Rung
    gpu_uuids: tuple[str, ...]
    service: str
    process_ids: tuple[int, ...]
    condition_ids: tuple[str, ...]
    reason: str
    remembered: str = ""
    instead: "OrderRepair | None" = None


@dataclass(frozen=True, slots=True)
class StartRepair:
    """Nothing is in the way of the repair any more: give it to its host."""


@dataclass(frozen=True, slots=True)
class GiveUpRepair:
    """The repair was not answered, not ended in time, or its way cannot be cleared."""

    reason: str


@dataclass(frozen=True, slots=True)
class WithdrawRepair:
    """The repair was not begun and will not be: it ends without its host."""

    reason: str


@dataclass(frozen=True, slots=True)
class SuspendRepair:
    """The order is kept from its host for now; the time in which to begin with it stands still."""


@dataclass(frozen=True, slots=True)
class ResumeRepair:
    """The order goes to its host again, with all the time in which to begin with it."""


@dataclass(frozen=True, slots=True)
class OrderHandOff:
    """The host of a quarantined node has yet to write its report."""


@dataclass(frozen=True, slots=True)
class FinishDrain:
    """A drained node has no jobs any more."""


@dataclass(frozen=True, slots=True)
class Release:
    """Put the node back into service."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """The trouble is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Escalate:
    """A person must act: quarantine the node."""

    reason: str


@dataclass(frozen=True, slots=True)
class LeaveToPerson:
    """A person said no: what follows is theirs."""

    person: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now. `seconds`: look again then at the latest; the incident tells the reason."""

    reason: str
    seconds: float | None = None


Step = (
    OpenIncident
    | OrderRepair
    | StartRepair
    | GiveUpRepair
    | WithdrawRepair
    | SuspendRepair
    | ResumeRepair
    | OrderHandOff
    | FinishDrain
    | Release
    | Resolve
    | Escalate
    | LeaveToPerson
    | Wait
)
