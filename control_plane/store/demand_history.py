"""What was asked for in the past, kept over restarts: one small value."""

from control_plane.store.database import Tx
from control_plane.store.tables import ControlRow

_KEY = "demand_history"


def load(tx: Tx) -> str:
    """Return what was saved last, empty if nothing was."""
    row = tx.session.get(ControlRow, _KEY)
    return "" if row is None else row.value


def save(tx: Tx, text: str) -> None:
    """Keep a text in place of the one before."""
    row = tx.session.get(ControlRow, _KEY) or ControlRow(key=_KEY, value="")
    row.value = text
    row.changed_at = tx.now
    tx.session.add(row)
