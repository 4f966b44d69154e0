"""Join tokens in the database. Only the SHA-256 of a secret is kept."""

from sqlalchemy import select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.model.ids import NodeId, TokenId
from control_plane.model.node import JoinTokenRecord
from control_plane.store.database import Tx
from control_plane.store.pages import Page, PageRequest, newest_first
from control_plane.store.tables import JoinTokenRow


def _model(row: JoinTokenRow) -> JoinTokenRecord:
    return JoinTokenRecord(
        id=TokenId(row.id),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        labels=row.labels,
        used_at=row.used_at,
        used_by_node_id=None if row.used_by_node_id is None else NodeId(row.used_by_node_id),
        revoked_at=row.revoked_at,
    )


def _row(tx: Tx, token_id: TokenId) -> JoinTokenRow:
    row = tx.session.get(JoinTokenRow, token_id)
    if row is None:
        raise NotFound(
            f"there is no join token {token_id}; list them with: orquanta node token list", reason="TOKEN_NOT_FOUND"
        )
    return row


def insert(tx: Tx, token: JoinTokenRecord, secret_sha256: bytes) -> None:
    """Record a token."""
    tx.session.add(
        JoinTokenRow(
            id=token.id,
            secret_sha256=secret_sha256,
            created_by=token.created_by,
            labels=dict(token.labels),
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )
    tx.session.flush()


def get(tx: Tx, token_id: TokenId) -> tuple[JoinTokenRecord, bytes] | None:
    """Return the token and the SHA-256 of its secret, or None."""
    row = tx.session.get(JoinTokenRow, token_id)
    return None if row is None else (_model(row), row.secret_sha256)


def page(tx: Tx, request: PageRequest) -> Page[JoinTokenRecord]:
    """Return a page of tokens, newest first."""
    rows, token = newest_first(
        tx.session, select(JoinTokenRow), request, col(JoinTokenRow.created_at), col(JoinTokenRow.id)
    )
    return Page(tuple(_model(row) for row in rows), token)


def mark_used(tx: Tx, token_id: TokenId, node_id: NodeId, key_fingerprint: str) -> None:
    """Record which node used the token, and the fingerprint of its public key."""
    row = _row(tx, token_id)
    row.used_at = row.used_at or tx.now
    row.used_by_node_id = node_id
    row.used_key_fingerprint = key_fingerprint
    tx.session.add(row)


def used_key(tx: Tx, token_id: TokenId) -> str:
    """Return the fingerprint of the public key that used the token, or an empty text."""
    return _row(tx, token_id).used_key_fingerprint


def revoke(tx: Tx, token_id: TokenId) -> JoinTokenRecord:
    """Make the token unusable. Raises NotFound."""
    row = _row(tx, token_id)
    row.revoked_at = row.revoked_at or tx.now
    tx.session.add(row)
    return _model(row)
