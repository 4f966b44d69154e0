"""Grants from the wire."""

from orquanta.convert.scalars import read_time, read_usd
from orquanta.types.grants import Grant
from orquanta.v1 import grant_pb2 as pb


def read_grant(message: pb.Grant) -> Grant:
    """A grant."""
    return Grant(
        id=message.id,
        granted_by=message.granted_by,
        kinds=tuple(message.kinds),
        user_id=message.user_id,
        pool=message.pool,
        budget_usd=read_usd(message.budget_usd_micros),
        used_usd=read_usd(message.used_usd_micros),
        uses_max=message.uses_max,
        uses=message.uses,
        reason=message.reason,
        created_at=read_time(message.created_at),
        expires_at=read_time(message.expires_at),
        revoked_at=read_time(message.revoked_at) if message.HasField("revoked_at") else None,
        revoked_by=message.revoked_by,
    )
