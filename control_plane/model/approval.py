"""Approvals and grants: who said yes to exactly what."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from control_plane.model.ids import GrantId, UserId


@dataclass(frozen=True, slots=True)
class ApprovalNeed:
    """What an action needs to be approved: `count` different people, of these roles or groups, within the time.

    `allowed` empty means operators. Never the requester, never an agent.
    """

    count: int = 1
    allowed: tuple[str, ...] = ()
    ttl_seconds: int = 1800


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes to the action with this hash. `grant_id` if it was given beforehand by a grant."""

    user_id: UserId
    approver: str
    hash: str
    policy_version: str
    estimate_usd: Decimal
    reason: str
    approved_at: datetime
    grant_id: GrantId | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """An approval given beforehand, for kinds of action, with a budget in US dollars, a number of uses and an end.

    `covered_user_id` None covers everybody's requests but the giver's own; `pool` empty covers every pool.
    """

    id: GrantId
    user_id: UserId
    granted_by: str
    kinds: tuple[str, ...]
    covered_user_id: UserId | None
    pool: str
    budget_usd: Decimal
    used_usd: Decimal
    uses_max: int
    uses: int
    reason: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    revoked_by: str = ""
