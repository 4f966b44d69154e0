"""Accounts and credentials from the wire."""

from orquanta.convert.scalars import read_enum, read_time, read_usd
from orquanta.types.accounts import ApiKey, NewApiKey, Role, Session, User
from orquanta.v1 import auth_pb2 as pb


def read_user(message: pb.User) -> User:
    """An account."""
    return User(
        id=message.id,
        email=message.email,
        role=read_enum(Role, pb.Role, message.role),
        disabled=message.disabled,
        created_at=read_time(message.created_at),
        budget_usd=read_usd(message.budget_usd_micros) if message.HasField("budget_usd_micros") else None,
        spent_usd=read_usd(message.spent_usd_micros),
        reserved_usd=read_usd(message.reserved_usd_micros),
        max_gpus=message.max_gpus if message.HasField("max_gpus") else None,
        team=message.team,
    )


def read_session(message: pb.LoginResponse) -> Session:
    """A login."""
    return Session(
        access_token=message.access_token,
        expires_at=read_time(message.expires_at),
        user=read_user(message.user),
    )


def read_api_key(message: pb.ApiKey) -> ApiKey:
    """An API key without its secret."""
    return ApiKey(
        id=message.id,
        name=message.name,
        created_at=read_time(message.created_at),
        expires_at=read_time(message.expires_at),
        revoked_at=read_time(message.revoked_at),
        for_agent=message.for_agent,
    )


def read_new_api_key(message: pb.CreateApiKeyResponse) -> NewApiKey:
    """An API key with its secret."""
    return NewApiKey(api_key=read_api_key(message.api_key), secret=message.secret)
