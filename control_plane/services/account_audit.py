"""What people change about accounts and credentials, on record."""

from control_plane.model.identity import Principal
from control_plane.store import audit
from control_plane.store.database import Tx


def audited(tx: Tx, caller: Principal, action: str, payload: dict[str, object]) -> None:
    """Record that somebody has done something."""
    audit.append(
        tx,
        agent_name=caller.email,
        action=action,
        reasoning="",
        outcome="done",
        payload=payload,
        user_id=caller.user_id,
    )
