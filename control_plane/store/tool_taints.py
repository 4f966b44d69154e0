"""Which credentials' agents have read strangers' words, so that a restart forgets nothing.

The notes lie among the request ids, and are forgotten with them: long after they have ceased to count.
"""

from datetime import datetime
from typing import Final

from control_plane.model.ids import UserId
from control_plane.store.database import Tx
from control_plane.store.tables import RequestRow

_METHOD: Final = "ToolTaint"


def note(tx: Tx, user_id: UserId, credential_id: str) -> None:
    """Note that the credential was given strangers' words now."""
    row = tx.session.get(RequestRow, (user_id, _METHOD, credential_id)) or RequestRow(
        user_id=user_id,
        method=_METHOD,
        request_id=credential_id,
        fingerprint="",
        result_id="",
        created_at=tx.now,
    )
    row.created_at = tx.now
    tx.session.add(row)
    tx.session.flush()


def noted_at(tx: Tx, user_id: UserId, credential_id: str) -> datetime | None:
    """Return when that was noted last, or None."""
    row = tx.session.get(RequestRow, (user_id, _METHOD, credential_id))
    return None if row is None else row.created_at
