"""Signed checkpoints of the audit, and what is known of records that were archived and deleted."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlmodel import col

from control_plane.store import audit
from control_plane.store.audit_tables import AuditCheckpointRow, AuditPruneRow, AuditRow, AuditWordsRow
from control_plane.store.database import Tx
from control_plane.store.pages import Page, PageRequest, by_key
from orquanta.ledger.chain import HASH_BYTES
from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.merkle import Frontier

_LATER_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to which records up to `up_to` were written before they were deleted."""

    up_to: int
    last_hash: bytes
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How the log stands beside what was signed: what tells whether it is still the same log.

    `newest` is the newest checkpoint with the tree at its size, `later` the newest few, smallest first, and `at_kept`
    the root of the one that has the size of a checkpoint that was kept elsewhere.
    """

    newest_id: int
    newest: tuple[Checkpoint, Frontier] | None
    later: tuple[Checkpoint, ...]
    at_kept: bytes | None


def standing(tx: Tx, kept: Checkpoint | None) -> Standing:
    """Return how the log stands beside its checkpoints and one that was kept elsewhere."""
    newest_id, _ = audit.newest(tx)
    query = select(AuditCheckpointRow).order_by(col(AuditCheckpointRow.size).desc()).limit(_LATER_MAX)
    later = tuple(_model(row) for row in reversed(tx.session.execute(query).scalars().all()))
    same = None if kept is None else get(tx, kept.size)
    found = None
    if later:
        try:
            found = newest(tx)
        except ValueError:  # somebody has meddled: an empty tree fits no checkpoint
            found = (later[-1], Frontier())
    return Standing(newest_id, found, later, None if same is None else same.root)


def get(tx: Tx, size: int) -> Checkpoint | None:
    """Return the checkpoint over this many records, or None."""
    row = tx.session.get(AuditCheckpointRow, size)
    return None if row is None else _model(row)


def insert_checkpoint(tx: Tx, checkpoint: Checkpoint, subtrees: tuple[bytes, ...]) -> None:
    """Keep a checkpoint and the tree's right edge at its size."""
    values = {
        "size": checkpoint.size,
        "origin": checkpoint.origin,
        "root": checkpoint.root,
        "signature": checkpoint.signature,
        "public_key": checkpoint.public_key,
        "frontier": b"".join(subtrees),
        "signed_at": checkpoint.signed_at,
    }
    tx.session.execute(insert(AuditCheckpointRow).values(values))


def newest(tx: Tx) -> tuple[Checkpoint, Frontier] | None:
    """Return the newest checkpoint and the tree at its size, or None."""
    query = select(AuditCheckpointRow).order_by(col(AuditCheckpointRow.size).desc()).limit(1)
    row = tx.session.execute(query).scalars().first()
    return None if row is None else (_model(row), _frontier(row))


def newest_older_than(tx: Tx, record_id: int) -> Checkpoint | None:
    """Return the newest checkpoint that covers nothing after this record, or None."""
    query = select(AuditCheckpointRow).where(col(AuditCheckpointRow.size) <= record_id)
    row = tx.session.execute(query.order_by(col(AuditCheckpointRow.size).desc()).limit(1)).scalars().first()
    return None if row is None else _model(row)


def between(tx: Tx, *, after: int, up_to: int | None = None, limit: int) -> tuple[Checkpoint, ...]:
    """Return checkpoints over more than `after` records, and at most `up_to`, smallest first."""
    query = select(AuditCheckpointRow).where(col(AuditCheckpointRow.size) > after)
    if up_to is not None:
        query = query.where(col(AuditCheckpointRow.size) <= up_to)
    rows = tx.session.execute(query.order_by(col(AuditCheckpointRow.size)).limit(limit)).scalars()
    return tuple(_model(row) for row in rows)


def page(tx: Tx, request: PageRequest) -> Page[Checkpoint]:
    """Return a page of checkpoints, newest first."""
    rows, token = by_key(tx.session, select(AuditCheckpointRow), request, col(AuditCheckpointRow.size), descending=True)
    return Page(tuple(_model(row) for row in rows), token)


def start(tx: Tx) -> Start:
    """Return where the log begins: at the first record, or after those that were archived."""
    query = select(AuditPruneRow).order_by(col(AuditPruneRow.up_to).desc()).limit(1)
    pruned = tx.session.execute(query).scalars().first()
    if pruned is None:
        return Start()
    checkpoint = tx.session.get(AuditCheckpointRow, pruned.up_to)
    # Not checked here: who verifies finds what does not fit.
    return Start(pruned.up_to, pruned.last_hash, () if checkpoint is None else _subtrees(checkpoint))


def start_at(tx: Tx, size: int) -> Start | None:
    """Return how the log stood when a checkpoint was signed over exactly `size` records, or None if none was."""
    checkpoint = tx.session.get(AuditCheckpointRow, size)
    row = tx.session.get(AuditRow, size)
    if checkpoint is None or row is None:
        return None
    return Start(size, row.hash, _subtrees(checkpoint))


def drop_archived(tx: Tx, archive: Archive) -> None:
    """Delete the records of an archive. There must be a checkpoint of exactly its size."""
    values = {
        "up_to": archive.up_to,
        "last_hash": archive.last_hash,
        "archive": archive.name,
        "archive_sha256": archive.sha256,
        "pruned_at": tx.now,
    }
    tx.session.execute(insert(AuditPruneRow).values(values))
    tx.session.execute(delete(AuditWordsRow).where(col(AuditWordsRow.record_id) <= archive.up_to))
    tx.session.execute(delete(AuditRow).where(col(AuditRow.id) <= archive.up_to))


def _model(row: AuditCheckpointRow) -> Checkpoint:
    return Checkpoint(row.origin, row.size, row.root, row.signed_at, row.signature, row.public_key)


def _frontier(row: AuditCheckpointRow) -> Frontier:
    return Frontier.restore(row.size, _subtrees(row))


def _subtrees(row: AuditCheckpointRow) -> tuple[bytes, ...]:
    return tuple(row.frontier[at : at + HASH_BYTES] for at in range(0, len(row.frontier), HASH_BYTES))
