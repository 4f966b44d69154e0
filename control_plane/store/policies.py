"""Which version of the hosts' local policy is in force, and since when."""

import json
from dataclasses import dataclass
from datetime import datetime

from control_plane.store.database import Tx
from control_plane.store.tables import ControlRow

_KEY = "local_policy"


@dataclass(frozen=True, slots=True)
class Issue:
    """A version of the policy; `terms` tells its terms from others."""

    version: int
    issued_at: datetime
    terms: str


def issue(tx: Tx, *, terms: str, renew_before: datetime, may_change: bool = True) -> Issue:
    """Return the version in force; a fresh one if the terms have changed, or it was issued before `renew_before`.

    Without `may_change`, other terms than those in force change nothing.

    A version is at least the time, in seconds since 1970, so that hosts obey one after the database was restored
    from a backup that knows only older ones.
    """
    row = tx.session.get(ControlRow, _KEY) or ControlRow(key=_KEY, value="")
    version = 0
    if row.value:
        known = json.loads(row.value)
        version = int(known["version"])
        present = Issue(version, datetime.fromisoformat(known["issued_at"]), known["terms"])
        if present.terms != terms and not may_change:
            return present
        if present.terms == terms and present.issued_at >= renew_before:
            return present
    fresh = Issue(max(version + 1, int(tx.now.timestamp())), tx.now, terms)
    row.value = json.dumps({"version": fresh.version, "issued_at": fresh.issued_at.isoformat(), "terms": terms})
    row.changed_at = tx.now
    tx.session.add(row)
    return fresh
