"""The longest lease that each control plane has told a host. It is written before it is told, and judged by."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select
from sqlmodel import col

from control_plane.fleet.told_leases import ToldLease
from control_plane.store.database import Tx
from control_plane.store.readable import readable
from control_plane.store.tables import ControlRow

_PREFIX: Final = "told-lease:"


def tell(tx: Tx, teller: str, told: ToldLease) -> None:
    """Record what a control plane tells hosts from now on."""
    row = tx.session.get(ControlRow, _PREFIX + teller) or ControlRow(key=_PREFIX + teller, value="")
    row.value = _text(told)
    row.changed_at = tx.now
    tx.session.add(row)


def every(tx: Tx) -> dict[str, ToldLease]:
    """Return what each control plane has told that was not forgotten."""
    key = col(ControlRow.key)
    # No row of a link comes after the first of these in any collation: they need not be read.
    query = select(key, col(ControlRow.value)).where(key >= _PREFIX, key.startswith(_PREFIX))
    rows = tx.session.execute(query)
    return dict(readable(tx, rows, lambda row: (row[0].removeprefix(_PREFIX), _read(row[1])), "a lease that was told"))


def forget(tx: Tx, over: Mapping[str, ToldLease]) -> None:
    """Forget leases that nobody goes by any more, unless they were told again meanwhile."""
    for teller, known in over.items():
        row = tx.session.get(ControlRow, _PREFIX + teller)
        if row is not None and row.value == _text(known):
            tx.session.delete(row)


def _text(told: ToldLease) -> str:
    return f"{told.seconds!r} {told.times}"


def _read(value: str) -> ToldLease:
    seconds, times = value.split()
    return ToldLease(float(seconds), int(times))
