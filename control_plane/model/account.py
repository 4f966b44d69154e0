"""Accounts and API keys, as the store keeps them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from control_plane.model.identity import Role
from control_plane.model.ids import KeyId, UserId


@dataclass(frozen=True, slots=True)
class User:
    """An account. `budget_usd` None means no limit; `max_gpus` None means the server's default.

    `team` is the path of its team, empty for none.
    """

    id: UserId
    email: str
    role: Role
    disabled: bool
    created_at: datetime
    budget_usd: Decimal | None
    spent_usd: Decimal
    reserved_usd: Decimal
    max_gpus: int | None
    team: str = ""


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """An API key without its secret. One that is `for_agent` proposes in its owner's name, and decides nothing."""

    id: KeyId
    user_id: UserId
    name: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    for_agent: bool = False
