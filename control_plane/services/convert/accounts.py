"""Accounts and API keys on the wire; never a password, hash or secret."""

from typing import Final

from control_plane.model.account import ApiKeyRecord, User
from control_plane.model.identity import Role
from control_plane.model.money import optional_to_micros, to_micros
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import auth_pb2

ROLE: Final = wire_enum(Role, auth_pb2.Role.Value, "ROLE")


def user(value: User) -> auth_pb2.User:
    """Return an account."""
    return auth_pb2.User(
        id=value.id,
        email=value.email,
        role=ROLE[value.role],
        disabled=value.disabled,
        created_at=timestamp(value.created_at),
        budget_usd_micros=optional_to_micros(value.budget_usd),
        spent_usd_micros=to_micros(value.spent_usd),
        reserved_usd_micros=to_micros(value.reserved_usd),
        max_gpus=value.max_gpus,
        team=value.team,
    )


def api_key(value: ApiKeyRecord) -> auth_pb2.ApiKey:
    """Return an API key's record."""
    return auth_pb2.ApiKey(
        id=value.id,
        name=value.name,
        created_at=timestamp(value.created_at),
        expires_at=timestamp(value.expires_at),
        revoked_at=timestamp(value.revoked_at),
        for_agent=value.for_agent,
    )
