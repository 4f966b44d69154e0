"""What tells the keys of all replicas from others: fingerprints, written down by the first that started."""

import json
from collections.abc import Mapping
from typing import Final

from control_plane.store.database import Tx
from control_plane.store.tables import ControlRow

_KEY: Final = "identity"


def agree(tx: Tx, marks: Mapping[str, str], *, by: str) -> Mapping[str, str]:
    """Return the marks that hold for this database; they are these if there were none."""
    row = tx.session.get(ControlRow, _KEY)
    if row is None:
        tx.session.add(ControlRow(key=_KEY, value=json.dumps(dict(marks)), changed_by=by, changed_at=tx.now))
        return marks
    known: dict[str, str] = json.loads(row.value)
    return known
