"""The first administrator: made once, when there is no account yet."""

import secrets
from dataclasses import dataclass
from decimal import Decimal

from control_plane.clock import Clock
from control_plane.identity.passwords import Passwords
from control_plane.model.account import User
from control_plane.model.identity import Role
from control_plane.model.ids import new_user_id
from control_plane.store import audit, users
from control_plane.store.database import Store, Tx

_PASSWORD_BYTES = 15


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The account, and its password if it was made here rather than given."""

    email: str
    made_password: str | None


async def ensure_admin(
    store: Store, passwords: Passwords, *, email: str, password: str | None, clock: Clock
) -> FirstAdmin | None:
    """Make the administrator if there is no account at all; otherwise return None and change nothing.

    Raises InvalidArgument for a password that is too short or too long.
    """
    if await store.read(users.count):
        return None
    made = None if password else secrets.token_urlsafe(_PASSWORD_BYTES)
    hashed = passwords.hash(password or made or "")

    def write(tx: Tx) -> bool:
        if users.count(tx):
            return False
        user = User(
            id=new_user_id(),
            email=email,
            role=Role.ADMIN,
            disabled=False,
            created_at=clock.now(),
            budget_usd=None,
            spent_usd=Decimal(0),
            reserved_usd=Decimal(0),
            max_gpus=None,
        )
        users.insert(tx, user, hashed)
        audit.append(
            tx,
            agent_name="safety_governor",
            action="user.created",
            reasoning="the first start makes an administrator",
            outcome="done",
            payload={"email": email, "role": Role.ADMIN.value},
            user_id=user.id,
        )
        return True

    return FirstAdmin(email, made) if await store.write(write) else None
