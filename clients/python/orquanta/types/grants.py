"""Grants: approvals given beforehand."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Grant:
    """An approval given beforehand: it counts as one approval by who gave it.

    `user_id` empty covers everybody's requests but the giver's, `pool` empty every pool. It covers `uses_max` actions
    that may cost `budget_usd` together. `revoked_at` is None unless it was taken back.
    """

    id: str
    granted_by: str
    kinds: tuple[str, ...]
    user_id: str
    pool: str
    budget_usd: Decimal
    used_usd: Decimal
    uses_max: int
    uses: int
    reason: str
    created_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str
