"""What names, lifetimes and times in the other requests must be."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.services.validate.fields import Fields, shown

PASSWORD_CHARACTERS_MAX: Final = 1_024
EMAIL_CHARACTERS_MAX: Final = 254
KEY_NAME_CHARACTERS_MAX: Final = 100
LIFETIME_MIN: Final = timedelta(minutes=1)

_NODE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_AGENT: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def node_reference(fields: Fields, path: str, value: str) -> str:
    """Check a node's id or name."""
    if not _NODE.fullmatch(value):
        fields.wrong(path, f"{shown(value)} is neither the id nor the name of a node", "ID_INVALID")
    return value


def agent_name(fields: Fields, path: str, value: str) -> str:
    """Check an agent's name."""
    if not _AGENT.fullmatch(value):
        fields.wrong(path, f"{shown(value)} is not the name of an agent; see ListAgents", "NAME_INVALID")
    return value


def action_hash(fields: Fields, value: str) -> str:
    """Check the hash of an action."""
    if not _HASH.fullmatch(value):
        fields.wrong("hash", "must be the action's hash: 64 lower-case hex digits, see GetAction", "HASH_INVALID")
    return value


def lifetime(fields: Fields, value: Duration | None, *, default: timedelta, most: timedelta) -> timedelta:
    """Check how long a credential is to live; None: the default."""
    if value is None:
        return default
    try:
        wanted = value.ToTimedelta()
    except (ValueError, OverflowError):
        wanted = timedelta(0)
    if not LIFETIME_MIN <= wanted <= most:
        fields.wrong("lifetime", f"must be from one minute to {most.days} days", "LIFETIME_OUT_OF_RANGE")
    return wanted


def moment(fields: Fields, path: str, value: Timestamp) -> datetime | None:
    """Check a point in time."""
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        fields.wrong(path, "is not a time from year 1 to 9999", "TIME_INVALID")
        return None
