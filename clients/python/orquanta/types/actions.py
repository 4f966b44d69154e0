"""Actions: every effect that was proposed, and what the governor decided."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class ActionState(StrEnum):
    """Where an action is in its life."""

    UNKNOWN = "unknown"
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


@dataclass(frozen=True, slots=True)
class ApprovalNeed:
    """How many different people must approve, and for how long the action waits for them.

    `allowed` are the roles or e-mail addresses that may; operators if empty.
    """

    count: int
    allowed: tuple[str, ...]
    ttl_seconds: int


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's approval of the action with this hash; `grant_id` if it was given beforehand by a grant."""

    approver: str
    hash: str
    reason: str
    approved_at: datetime | None
    grant_id: str


@dataclass(frozen=True, slots=True)
class Action:
    """A proposed effect.

    `hash` is the SHA-256 of the frozen action in hex; an approval is bound to it. `arguments_json` is the
    frozen arguments as canonical JSON. `decision` has one line for each rule of the governor that spoke.
    `approval_need` is None if nobody must approve. `tainted` says that the run had read words that strangers wrote.
    `undoes` is the action that this one takes back, `undone_by` the one that took this one back.
    """

    id: str
    kind: str
    proposer: str
    user_id: str
    goal_id: str
    job_id: str
    node_id: str
    state: ActionState
    summary: str
    reasoning: str
    decision: tuple[str, ...]
    hash: str
    estimate_usd: Decimal
    arguments_json: str
    decided_by: str
    created_at: datetime | None
    expires_at: datetime | None
    finished_at: datetime | None
    outcome: str
    approvals: tuple[Approval, ...] = ()
    approval_need: ApprovalNeed | None = None
    policy_version: str = ""
    run_id: str = ""
    tainted: bool = False
    undoes: str = ""
    undone_by: str = ""


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """The kill switch. While it is engaged, no effect happens; reads and running jobs go on."""

    engaged: bool
    changed_by: str
    reason: str
    changed_at: datetime | None
