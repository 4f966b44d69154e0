"""Accounts, roles and credentials."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Role(StrEnum):
    """What an account may do. Each role may do all that the ones before it may."""

    UNKNOWN = "unknown"
    VIEWER = "viewer"
    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    """An account. `budget_usd` and `max_gpus` are None where no limit of its own was set; `team` is empty for none."""

    id: str
    email: str
    role: Role
    disabled: bool
    created_at: datetime | None
    budget_usd: Decimal | None
    spent_usd: Decimal
    reserved_usd: Decimal
    max_gpus: int | None
    team: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A login: a short-lived token, when it runs out, and whose it is."""

    access_token: str
    expires_at: datetime | None
    user: User


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without its secret. `revoked_at` is None while it is usable.

    One that is `for_agent` proposes in its owner's name, and never approves, grants or makes credentials.
    """

    id: str
    name: str
    created_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    for_agent: bool = False


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """An API key with its secret, which the server never shows again."""

    api_key: ApiKey
    secret: str
