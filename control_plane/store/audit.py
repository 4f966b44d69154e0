"""The audit: records are added, never changed; each one's hash covers the one before; the database itself refuses more.

Author, reasoning and payload are kept apart from what is hashed, which holds a keyed hash of them: the words of a
person can be erased, and the log still proves itself.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, exists, func, or_, select
from sqlmodel import col

from control_plane.model.ids import UserId
from control_plane.model.money import from_micros, to_micros
from control_plane.model.record import AuditRecord
from control_plane.model.redaction import may_hold_secret, redact, redact_json
from control_plane.store.audit_tables import AuditPruneRow, AuditRow, AuditWordsRow
from control_plane.store.database import Tx
from control_plane.store.pages import Page, PageRequest, by_key
from orquanta.ledger.chain import GENESIS, HASH_BYTES, canonical_json, private_hash, record_hash
from orquanta.ledger.records import ARCHIVED, DISCONTINUED, ERASED, LedgerRecord, canonical_record, read_canonical

WORDS_CHARACTERS_MAX = 256 << 10
"""Of a record's words as JSON; of longer ones the beginning is kept. An export's line stays far below its bound."""
_KEPT_CHARACTERS = 16 << 10
_TAIL = "audit.tail"
"""Under this the transaction remembers the id and hash of the last record, once it has added one."""
_NO_FIELDS: Mapping[str, Any] = dict.fromkeys(  # Any: texts and a number
    ("action_id", "goal_id", "job_id", "node_id", "run_id", "user_id"), ""
)
UNREADABLE = "audit.unreadable"
"""Is shown in place of the action of a record that somebody has made unreadable; verification says more."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records; empty means all. `user_id` limits to what was done by or for that user; `text` are words in it."""

    goal_id: str = ""
    job_id: str = ""
    node_id: str = ""
    agent_name: str = ""
    action_id: str = ""
    run_id: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    user_id: UserId | None = None


def append(
    tx: Tx,
    *,
    agent_name: str,
    action: str,
    reasoning: str,
    outcome: str,
    payload: Mapping[str, object] | None = None,
    cost_impact_usd: Decimal = Decimal(0),
    action_id: str = "",
    goal_id: str = "",
    job_id: str = "",
    node_id: str = "",
    run_id: str = "",
    user_id: str = "",
) -> int:
    """Add a record and return its id. `payload` must be JSON-compatible; secrets in it are hidden."""
    fields = {
        "action": action,
        "outcome": outcome,
        "cost_impact": to_micros(cost_impact_usd),
        "action_id": action_id,
        "goal_id": goal_id,
        "job_id": job_id,
        "node_id": node_id,
        "run_id": run_id,
        "user_id": user_id,
    }
    return _add(tx, agent_name, fields, {}, reasoning, payload or {})


def _add(
    tx: Tx,
    agent_name: str,
    fields: dict[str, Any],  # Any: texts and a number
    more: Mapping[str, object],
    reasoning: str,
    payload: Mapping[str, object],
) -> int:
    """Add a record; `more` goes into what is hashed and into no column."""
    last_id, previous = tx.known(_TAIL) or newest(tx)
    key = secrets.token_bytes(HASH_BYTES)
    words = _written(agent_name, reasoning, payload)
    # An agent's name is nobody's personal data, and stays when words are erased.
    named = {"agent": "" if "@" in agent_name else agent_name}
    record_id = last_id + 1
    hashed = fields | named | dict(more)
    canonical = canonical_record(record_id, tx.now.isoformat(), hashed, private_hash(key, words))
    row = {
        "id": record_id,
        "previous_hash": previous,
        "hash": record_hash(previous, canonical),
        "canonical": canonical,
        "created_at": tx.now,
    }
    tx.later(AuditRow, {**_NO_FIELDS, **row, **fields})
    tx.later(AuditWordsRow, {"record_id": record_id, "key": key, "agent_name": agent_name, "document": words})
    tx.know(_TAIL, (record_id, row["hash"]))
    return record_id


def _written(agent_name: str, reasoning: str, payload: Mapping[str, object]) -> str:
    """Return the words of a record as JSON: without secrets, of bounded length, and such that every database takes."""
    words = canonical_json({"agent_name": agent_name, "reasoning": reasoning, "payload": payload})
    if len(words) > WORDS_CHARACTERS_MAX:
        whole = canonical_json(payload)
        cut = {"cut": whole[:_KEPT_CHARACTERS], "characters": len(whole)}
        reasoning = reasoning[:_KEPT_CHARACTERS]
        words = canonical_json({"agent_name": agent_name, "reasoning": reasoning, "payload": cut})
    if may_hold_secret(words):
        said = json.loads(words)
        clean = {"reasoning": redact(said["reasoning"]), "payload": redact_json(said["payload"])}
        words = canonical_json({"agent_name": agent_name} | clean)
    return words if words.isascii() else words.encode("utf-8", "replace").decode()


def append_archived(tx: Tx, *, agent_name: str, reason: str, name: str, sha256: str, up_to: int) -> int:
    """Record that the log was archived up to a record; what verifies the archive stands in the hashed part."""
    fields = {"action": ARCHIVED, "outcome": "done", "cost_impact": 0}
    archives = {"up_to": up_to, "sha256": sha256}
    return _add(tx, agent_name, fields, {"archives": archives}, reason, {"archive": name} | archives)


def append_break(tx: Tx, *, agent_name: str, fault: str, size: int, root: bytes) -> int:
    """Record that the log is no continuation of what was signed last: over `size` records, with this Merkle root."""
    fields = {"action": DISCONTINUED, "outcome": "failed", "cost_impact": 0}
    signed = {"size": size, "root": root.hex()}
    return _add(tx, agent_name, fields, {"discontinues": signed}, fault, signed)


def newest(tx: Tx) -> tuple[int, bytes]:
    """Return the id and hash of the last record; 0 and the hash before the first if there is none."""
    query = select(col(AuditRow.id), col(AuditRow.hash)).order_by(col(AuditRow.id).desc()).limit(1)
    row = tx.session.execute(query).first()
    if row is not None:
        return row[0], row[1]
    pruned = select(col(AuditPruneRow.up_to), col(AuditPruneRow.last_hash)).order_by(col(AuditPruneRow.up_to).desc())
    gone = tx.session.execute(pruned.limit(1)).first()
    return (0, GENESIS) if gone is None else (gone[0], gone[1])


def last_before(tx: Tx, when: datetime) -> int:
    """Return the id of the last record that is older than this, 0 if none is."""
    query = select(func.max(col(AuditRow.id))).where(col(AuditRow.created_at) < when)
    return tx.session.execute(query).scalar() or 0


def erase(
    tx: Tx, *, by: str, by_user_id: str, reason: str, record_id: int = 0, user_id: str = "", email: str = ""
) -> int:
    """Erase the words of one record, or of a user so far, and record that; return of how many records.

    A user's are those of their records and, by `email`, those that they wrote into others': an approval stands in the
    requester's. What is recorded stands in the hashed part, so that the gap is explained for as long as the log lives.
    What the auditor found of the log itself is not erased.
    """
    last_id, _ = newest(tx)
    lasting = select(col(AuditRow.id)).where(col(AuditRow.action).in_((ARCHIVED, DISCONTINUED)))
    if record_id:
        which = col(AuditWordsRow.record_id) == record_id
        what: dict[str, object] = {"record_id": record_id}
    else:
        own = select(col(AuditRow.id)).where(col(AuditRow.user_id) == user_id)
        written = select(col(AuditWordsRow.record_id)).where(
            col(AuditWordsRow.agent_name) == email, col(AuditWordsRow.record_id).not_in(own)
        )
        others = list(tx.session.execute(written).scalars()) if email else []
        which = or_(col(AuditWordsRow.record_id).in_(own), col(AuditWordsRow.agent_name) == (email or None))
        what = {"user_id": user_id, "up_to": last_id, "record_ids": others}
    gone = tx.session.execute(delete(AuditWordsRow).where(which, col(AuditWordsRow.record_id).not_in(lasting)))
    count: int = gone.rowcount  # type: ignore[attr-defined]  # a DELETE's result counts its rows
    if count:
        fields = {"action": ERASED, "outcome": "done", "user_id": by_user_id, "cost_impact": 0}
        _add(tx, by, fields, {"erases": what}, reason, {"records": count})
    return count


def has_done(tx: Tx, action: str, user_id: str, email: str, *, goal_id: str) -> bool:
    """Return whether there is a record of this action of this person for a goal, with their words or without them."""
    query = select(col(AuditRow.id)).where(
        col(AuditRow.goal_id) == goal_id,
        col(AuditRow.action) == action,
        or_(col(AuditRow.user_id) == user_id, _by(email)),
    )
    return tx.session.execute(query.limit(1)).first() is not None


def has_recent(tx: Tx, action: str, *, node_id: str, within: timedelta = timedelta(hours=1)) -> bool:
    """Return whether there is a record of this action about a node that is not older than `within`."""
    query = select(col(AuditRow.id)).where(
        col(AuditRow.node_id) == node_id, col(AuditRow.action) == action, col(AuditRow.created_at) > tx.now - within
    )
    return tx.session.execute(query.limit(1)).first() is not None


def page(tx: Tx, which: AuditFilter, request: PageRequest) -> Page[AuditRecord]:
    """Return a page of records, newest first."""
    query = select(AuditRow)
    for name in ("goal_id", "job_id", "node_id", "action_id", "run_id", "user_id"):
        wanted = getattr(which, name)
        if wanted:
            query = query.where(getattr(AuditRow, name) == wanted)
    if which.agent_name:
        query = query.where(_by(which.agent_name))
    if which.text:
        query = query.where(_holds(which.text))
    if which.since:
        query = query.where(col(AuditRow.created_at) >= which.since)
    if which.until:
        query = query.where(col(AuditRow.created_at) < which.until)
    rows, token = by_key(tx.session, query, request, col(AuditRow.id), descending=True)
    words = _words(tx, rows)
    return Page(tuple(_model(row, words.get(row.id)) for row in rows), token)


def ledger(tx: Tx, *, after_id: int, limit: int) -> tuple[LedgerRecord, ...]:
    """Return records as they are hashed, oldest first, from the one after `after_id` on."""
    query = select(AuditRow).where(col(AuditRow.id) > after_id).order_by(col(AuditRow.id)).limit(limit)
    rows = list(tx.session.execute(query).scalars())
    words = _words(tx, rows)
    return tuple(_ledger_record(row, words.get(row.id)) for row in rows)


def hashes(tx: Tx, *, after_id: int, limit: int) -> tuple[bytes, ...]:
    """Return the hashes of records, oldest first, from the one after `after_id` on."""
    query = select(col(AuditRow.hash)).where(col(AuditRow.id) > after_id).order_by(col(AuditRow.id)).limit(limit)
    return tuple(tx.session.execute(query).scalars())


def erasures(tx: Tx, *, after_id: int, limit: int = 10_000) -> tuple[LedgerRecord, ...]:
    """Return the records of erasures after `after_id`, oldest first."""
    query = select(AuditRow).where(col(AuditRow.id) > after_id, col(AuditRow.action) == ERASED)
    rows = list(tx.session.execute(query.order_by(col(AuditRow.id)).limit(limit)).scalars())
    words = _words(tx, rows)
    return tuple(_ledger_record(row, words.get(row.id)) for row in rows)


def _by(agent_name: str) -> Any:  # Any: an SQL condition
    return exists().where(col(AuditWordsRow.record_id) == col(AuditRow.id), col(AuditWordsRow.agent_name) == agent_name)


def _holds(text: str) -> Any:  # Any: an SQL condition
    # The document is JSON: what stands between quotes in it is the text as JSON spells it.
    spelled = json.dumps(text, ensure_ascii=False)[1:-1].lower()
    said = exists().where(
        col(AuditWordsRow.record_id) == col(AuditRow.id),
        func.lower(col(AuditWordsRow.document)).contains(spelled, autoescape=True),
    )
    return or_(func.lower(col(AuditRow.action)).contains(text.lower(), autoescape=True), said)


def _words(tx: Tx, rows: Sequence[AuditRow]) -> dict[int, AuditWordsRow]:
    ids = [row.id for row in rows]
    if not ids:
        return {}
    between = select(AuditWordsRow).where(
        col(AuditWordsRow.record_id) >= min(ids), col(AuditWordsRow.record_id) <= max(ids)
    )
    if max(ids) - min(ids) >= len(ids):  # a filtered page, which is never long
        between = select(AuditWordsRow).where(col(AuditWordsRow.record_id).in_(ids))
    return {words.record_id: words for words in tx.session.execute(between).scalars()}


def _model(row: AuditRow, words: AuditWordsRow | None) -> AuditRecord:
    """Return what was hashed: the columns are there to search by. What somebody made unreadable is shown empty."""
    try:
        said = {} if words is None else json.loads(words.document)
        return _shown(row, said, read_canonical(row.canonical), erased=words is None)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return _shown(row, {}, {"action": UNREADABLE, "at": row.created_at.isoformat()}, erased=words is None)


def _shown(
    row: AuditRow,
    said: Mapping[str, Any],  # Any: JSON
    hashed: Mapping[str, Any],  # Any: JSON
    *,
    erased: bool,
) -> AuditRecord:
    return AuditRecord(
        id=row.id,
        agent_name=said.get("agent_name") or hashed.get("agent", ""),
        action=hashed.get("action", ""),
        reasoning=said.get("reasoning", ""),
        payload_json=json.dumps(said.get("payload", {}), sort_keys=True),
        outcome=hashed.get("outcome", ""),
        cost_impact_usd=from_micros(hashed.get("cost_impact", 0)),
        created_at=datetime.fromisoformat(hashed["at"]),
        action_id=hashed.get("action_id", ""),
        goal_id=hashed.get("goal_id", ""),
        job_id=hashed.get("job_id", ""),
        node_id=hashed.get("node_id", ""),
        run_id=hashed.get("run_id", ""),
        hash=row.hash,
        erased=erased,
    )


def _ledger_record(row: AuditRow, words: AuditWordsRow | None) -> LedgerRecord:
    wrong = {} if words is None or _names_its_author(words) else {"agent_name": words.agent_name or "nobody"}
    return LedgerRecord(
        id=row.id,
        previous_hash=row.previous_hash,
        hash=row.hash,
        canonical=row.canonical,
        private=None if words is None else words.document,
        private_key=None if words is None else words.key,
        shown={
            "at": row.created_at.isoformat(),
            "action": row.action,
            "outcome": row.outcome,
            "cost_impact": row.cost_impact,
            "action_id": row.action_id,
            "goal_id": row.goal_id,
            "job_id": row.job_id,
            "node_id": row.node_id,
            "run_id": row.run_id,
            "user_id": row.user_id,
        }
        | wrong,
    )


def _names_its_author(words: AuditWordsRow) -> bool:
    """Tell whether the column that is searched names whom the words name, which stands first among them."""
    return words.document.startswith(canonical_json({"agent_name": words.agent_name})[:-1])
