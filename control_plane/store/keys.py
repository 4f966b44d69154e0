"""API keys in the database. Only the SHA-256 of a secret is kept."""

from sqlalchemy import select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.model.account import ApiKeyRecord
from control_plane.model.ids import KeyId, UserId
from control_plane.store.database import Tx
from control_plane.store.pages import Page, PageRequest, newest_first
from control_plane.store.tables import ApiKeyRow


def _model(row: ApiKeyRow) -> ApiKeyRecord:
    return ApiKeyRecord(
        id=KeyId(row.id),
        user_id=UserId(row.user_id),
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        for_agent=row.for_agent,
    )


def insert(tx: Tx, key: ApiKeyRecord, secret_sha256: bytes) -> None:
    """Record a key."""
    tx.session.add(
        ApiKeyRow(
            id=key.id,
            user_id=key.user_id,
            name=key.name,
            secret_sha256=secret_sha256,
            created_at=key.created_at,
            expires_at=key.expires_at,
            for_agent=key.for_agent,
        )
    )
    tx.session.flush()


def get(tx: Tx, key_id: KeyId) -> tuple[ApiKeyRecord, bytes] | None:
    """Return the key and the SHA-256 of its secret, or None."""
    row = tx.session.get(ApiKeyRow, key_id)
    return None if row is None else (_model(row), row.secret_sha256)


def page(tx: Tx, user_id: UserId, request: PageRequest) -> Page[ApiKeyRecord]:
    """Return a page of the user's keys, newest first."""
    query = select(ApiKeyRow).where(col(ApiKeyRow.user_id) == user_id)
    rows, token = newest_first(tx.session, query, request, col(ApiKeyRow.created_at), col(ApiKeyRow.id))
    return Page(tuple(_model(row) for row in rows), token)


def revoke(tx: Tx, key_id: KeyId) -> ApiKeyRecord:
    """Make the key unusable. Raises NotFound."""
    row = tx.session.get(ApiKeyRow, key_id)
    if row is None:
        raise NotFound(f"there is no API key {key_id}; list them with: orquanta key list", reason="KEY_NOT_FOUND")
    row.revoked_at = row.revoked_at or tx.now
    tx.session.add(row)
    return _model(row)
