"""Grants on the wire."""

from control_plane.model.approval import Grant
from control_plane.model.money import to_micros
from control_plane.services.convert.scalars import timestamp
from orquanta.v1 import grant_pb2


def grant(value: Grant) -> grant_pb2.Grant:
    """Return a grant."""
    return grant_pb2.Grant(
        id=value.id,
        granted_by=value.granted_by,
        kinds=value.kinds,
        user_id=value.covered_user_id or "",
        pool=value.pool,
        budget_usd_micros=to_micros(value.budget_usd),
        used_usd_micros=to_micros(value.used_usd),
        uses_max=value.uses_max,
        uses=value.uses,
        reason=value.reason,
        created_at=timestamp(value.created_at),
        expires_at=timestamp(value.expires_at),
        revoked_at=timestamp(value.revoked_at),
        revoked_by=value.revoked_by,
    )
