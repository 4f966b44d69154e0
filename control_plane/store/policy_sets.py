"""Sets of policies that were in force, and what actions were judged by."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, or_, select
from sqlmodel import col

from control_plane.model.ids import ActionId
from control_plane.store.database import Tx
from control_plane.store.policy_tables import ActionInputRow, PolicySetRow
from control_plane.store.tables import ControlRow

_IN_FORCE = "policy_set"

INPUT_CHARACTERS_MAX = 64 * 1024
"""An input that is longer is not kept; the action then cannot be judged again as things were."""


@dataclass(frozen=True, slots=True)
class KeptSet:
    """The files of a set, names and texts, and when it first came into force."""

    version: str
    files: tuple[tuple[str, str], ...]
    loaded_at: datetime


@dataclass(frozen=True, slots=True)
class JudgedInput:
    """What an action was judged by: JSON without the action's arguments, which stand with the action itself."""

    action_id: ActionId
    policy_version: str
    ruling: str
    input_json: str
    judged_at: datetime


def keep(tx: Tx, version: str, files: Sequence[tuple[str, str]]) -> bool:
    """Keep a set; return False if it is kept already."""
    if tx.session.get(PolicySetRow, version) is not None:
        return False
    kept = [{"name": name, "text": text} for name, text in files]
    tx.session.add(PolicySetRow(version=version, files=kept, loaded_at=tx.now))
    tx.session.flush()
    return True


def get(tx: Tx, version: str) -> KeptSet | None:
    """Return a set that was in force once, or None."""
    row = tx.session.get(PolicySetRow, version)
    if row is None:
        return None
    return KeptSet(row.version, tuple((one["name"], one["text"]) for one in row.files), row.loaded_at)


def in_force(tx: Tx) -> KeptSet | None:
    """Return the set that was put into force last, or None."""
    row = tx.session.get(ControlRow, _IN_FORCE)
    return None if row is None or not row.value else get(tx, row.value)


def put_in_force(tx: Tx, version: str) -> None:
    """Note that a kept set is in force now."""
    row = tx.session.get(ControlRow, _IN_FORCE) or ControlRow(key=_IN_FORCE, value="")
    if row.value != version:
        row.value = version
        row.changed_at = tx.now
        tx.session.add(row)


def record_input(tx: Tx, action_id: ActionId, *, policy_version: str, ruling: str, input_json: str) -> None:
    """Keep what an action was judged by when it was proposed, unless that is too long."""
    if len(input_json) > INPUT_CHARACTERS_MAX:
        return
    tx.later(
        ActionInputRow,
        {
            "action_id": action_id,
            "policy_version": policy_version,
            "ruling": ruling,
            "input_json": input_json,
            "judged_at": tx.now,
        },
    )


def judged_input(tx: Tx, action_id: ActionId) -> JudgedInput | None:
    """Return what an action was judged by, or None."""
    row = tx.session.get(ActionInputRow, action_id)
    return None if row is None else _model(row)


def judged_since(
    tx: Tx, since: datetime, *, limit: int, older_than: JudgedInput | None = None
) -> tuple[JudgedInput, ...]:
    """Return what the newest actions since then were judged by, newest first; go on after `older_than`."""
    when, action_id = col(ActionInputRow.judged_at), col(ActionInputRow.action_id)
    query = select(ActionInputRow).where(when >= since).order_by(when.desc(), action_id.desc()).limit(limit)
    if older_than is not None:
        last = older_than
        query = query.where(or_(when < last.judged_at, and_(when == last.judged_at, action_id < last.action_id)))
    return tuple(_model(row) for row in tx.session.execute(query).scalars())


def prune(tx: Tx, *, kept_days: int) -> None:
    """Forget what actions were judged by longer ago."""
    before = tx.now - timedelta(days=kept_days)
    tx.session.execute(delete(ActionInputRow).where(col(ActionInputRow.judged_at) < before))


def _model(row: ActionInputRow) -> JudgedInput:
    return JudgedInput(ActionId(row.action_id), row.policy_version, row.ruling, row.input_json, row.judged_at)
