"""Actions: effects that are proposed to the governor, typed and frozen."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

from control_plane.model.approval import Approval, ApprovalNeed
from control_plane.model.ids import ActionId, AllocationId, GoalId, IncidentId, JobId, NodeId, RunId, UserId
from control_plane.model.job import JobSpec
from control_plane.model.repair import Rung


class ActionState(Enum):
    """Where an action is in its life."""

    PROPOSED = "proposed"
    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    EXECUTING = "executing"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"

    @property
    def ended(self) -> bool:
        """Whether the action will never change state again."""
        return self not in (
            ActionState.PROPOSED,
            ActionState.AWAITING_APPROVAL,
            ActionState.APPROVED,
            ActionState.EXECUTING,
        )


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be launched. `id` is fixed beforehand, so that launching twice is launching once."""

    id: JobId
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class LaunchJobs:
    """Queue jobs, all of a goal at once, and reserve what they may cost.

    `budget_usd` caps the whole goal; None means that only the user's own budget counts.
    """

    jobs: tuple[NewJob, ...]
    goal_id: GoalId | None = None
    budget_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """GPUs of one node for one rank."""

    rank: int
    node_id: NodeId
    gpu_uuids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlaceJob:
    """Give a queued job its GPUs: all members or none. `epoch` is the attempt this starts."""

    job_id: JobId
    epoch: int
    gpu_type: str
    placements: tuple[Placement, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class StopJob:
    """Stop a job for good."""

    job_id: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class RequeueJob:
    """Give up what an attempt of a job ran on lost nodes, and queue the job again once all of the attempt has ended.

    `node_ids` are the nodes that have surely stopped their jobs; empty means every node of the attempt that is lost.
    """

    job_id: JobId
    allocation_id: AllocationId
    reason: str
    node_ids: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True)
class PreemptJob:
    """Have an attempt of a job make way for a job that waits: it saves its work if it can, and is queued again."""

    job_id: JobId
    allocation_id: AllocationId
    for_job_id: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class CordonNode:
    """Take a node out of scheduling."""

    node_id: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class UncordonNode:
    """Put a node back into scheduling."""

    node_id: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class RevokeNode:
    """Take a node out of the fleet for good."""

    node_id: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class DrainNode:
    """Take a node out of service and move its jobs away; it stays out until it is released."""

    node_id: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class RepairNode:
    """Take a node out of service, move away the jobs that are in the way, and have its host carry out a repair.

    `gpu_uuids` empty means all of the host. `dry_run` only asks the host what it would do: nothing is taken out of
    service or moved. Without an incident, the node's open one is meant, or a fresh one is opened.
    """

    node_id: NodeId
    rung: Rung
    reason: str
    gpu_uuids: tuple[str, ...] = ()
    service: str = ""
    process_ids: tuple[int, ...] = ()
    dry_run: bool = False
    incident_id: IncidentId | None = None
    condition_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuarantineNode:
    """Take a node out of service until a person releases it; its jobs are moved away."""

    node_id: NodeId
    reason: str
    incident_id: IncidentId | None = None


@dataclass(frozen=True, slots=True)
class ReleaseNode:
    """Put a node back into service that was drained, repaired or quarantined."""

    node_id: NodeId
    reason: str
    incident_id: IncidentId | None = None


@dataclass(frozen=True, slots=True)
class UpdateCondition:
    """Acknowledge a condition of a node, so that it asks for no repair, or have its host clear it."""

    node_id: NodeId
    condition_id: str
    clear: bool
    by: str
    reason: str


Effect = (
    LaunchJobs
    | PlaceJob
    | StopJob
    | RequeueJob
    | PreemptJob
    | CordonNode
    | UncordonNode
    | RevokeNode
    | DrainNode
    | RepairNode
    | QuarantineNode
    | ReleaseNode
    | UpdateCondition
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """An effect, who proposes it, for whom and why.

    `proposer` is an agent's name or a person's e-mail; `user_id` is the person on whose behalf it is.
    `is_person` says that a person proposed it directly over an authenticated call. `tainted` says that the run had read
    words that strangers wrote, and that this was not in its plan before. `undoes` is the action that it takes back.
    """

    id: ActionId
    effect: Effect
    proposer: str
    reasoning: str
    is_person: bool
    user_id: UserId | None = None
    goal_id: GoalId | None = None
    job_id: JobId | None = None
    node_id: NodeId | None = None
    run_id: RunId | None = None
    tainted: bool = False
    undoes: ActionId | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """A recorded proposal and what became of it. `hash` is SHA-256 of the frozen effect, in hex.

    `approvals` are those that still count; `is_person` as in Proposal.
    """

    id: ActionId
    kind: str
    effect: Effect
    proposer: str
    user_id: UserId | None
    goal_id: GoalId | None
    job_id: JobId | None
    node_id: NodeId | None
    state: ActionState
    summary: str
    reasoning: str
    decision: tuple[str, ...]
    hash: str
    arguments_json: str
    estimate_usd: Decimal
    decided_by: str
    outcome: str
    created_at: datetime
    expires_at: datetime | None
    finished_at: datetime | None
    approval_need: ApprovalNeed | None = None
    approvals: tuple[Approval, ...] = ()
    policy_version: str = ""
    run_id: RunId | None = None
    tainted: bool = False
    undoes: ActionId | None = None
    undone_by: ActionId | None = None
    is_person: bool = False


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """Whether all effects are stopped, and who said so."""

    engaged: bool
    changed_by: str
    reason: str
    changed_at: datetime | None
