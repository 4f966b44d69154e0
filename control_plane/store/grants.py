"""Grants in the database: approvals given beforehand, and what is left of them."""

from decimal import Decimal

from sqlalchemy import or_, select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.model.approval import Grant
from control_plane.model.ids import GrantId, UserId
from control_plane.model.money import from_micros, to_micros
from control_plane.store.approval_tables import GrantRow
from control_plane.store.database import Tx
from control_plane.store.pages import Page, PageRequest, newest_first

CANDIDATES_MAX = 100
"""Grants that are looked at for one action, those that end first."""


def _model(row: GrantRow) -> Grant:
    return Grant(
        id=GrantId(row.id),
        user_id=UserId(row.user_id),
        granted_by=row.granted_by,
        kinds=tuple(kind for kind in row.kinds.split(",") if kind),
        covered_user_id=None if row.covered_user_id is None else UserId(row.covered_user_id),
        pool=row.pool,
        budget_usd=from_micros(row.budget_usd_micros),
        used_usd=from_micros(row.used_usd_micros),
        uses_max=row.uses_max,
        uses=row.uses,
        reason=row.reason,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
    )


def insert(tx: Tx, grant: Grant) -> None:
    """Record a grant."""
    tx.session.add(
        GrantRow(
            id=grant.id,
            user_id=grant.user_id,
            granted_by=grant.granted_by,
            kinds=f",{','.join(grant.kinds)},",
            covered_user_id=grant.covered_user_id,
            pool=grant.pool,
            budget_usd_micros=to_micros(grant.budget_usd),
            uses_max=grant.uses_max,
            reason=grant.reason,
            created_at=grant.created_at,
            expires_at=grant.expires_at,
        )
    )
    tx.session.flush()


def _row(tx: Tx, grant_id: GrantId) -> GrantRow:
    row = tx.session.get(GrantRow, grant_id)
    if row is None:
        raise NotFound(f"there is no grant {grant_id}; list them with: orquanta grant list", reason="GRANT_NOT_FOUND")
    return row


def require(tx: Tx, grant_id: GrantId) -> Grant:
    """Return the grant. Raises NotFound."""
    return _model(_row(tx, grant_id))


def page(tx: Tx, request: PageRequest, *, include_ended: bool) -> Page[Grant]:
    """Return a page of grants, newest first; without those that have ended, were used up or taken back."""
    query = select(GrantRow)
    if not include_ended:
        query = query.where(
            col(GrantRow.revoked_at).is_(None),
            col(GrantRow.expires_at) > tx.now,
            col(GrantRow.uses) < col(GrantRow.uses_max),
        )
    rows, token = newest_first(tx.session, query, request, col(GrantRow.created_at), col(GrantRow.id))
    return Page(tuple(_model(row) for row in rows), token)


def usable(tx: Tx, kind: str, *, user_id: UserId | None) -> tuple[Grant, ...]:
    """Return the grants in force for this kind of action of this user, those that end first; at most CANDIDATES_MAX."""
    query = (
        select(GrantRow)
        .where(
            col(GrantRow.revoked_at).is_(None),
            col(GrantRow.expires_at) > tx.now,
            col(GrantRow.uses) < col(GrantRow.uses_max),
            col(GrantRow.kinds).contains(f",{kind},", autoescape=True),
            or_(col(GrantRow.covered_user_id).is_(None), col(GrantRow.covered_user_id) == user_id),
        )
        .order_by(col(GrantRow.expires_at), col(GrantRow.id))
        .limit(CANDIDATES_MAX)
    )
    return tuple(_model(row) for row in tx.session.execute(query).scalars())


def use(tx: Tx, grant_id: GrantId, usd: Decimal) -> None:
    """Take one use and its money from a grant. Raises NotFound, or ValueError if it has not got that much."""
    row = _row(tx, grant_id)
    micros = to_micros(usd)
    if row.uses >= row.uses_max or row.used_usd_micros + micros > row.budget_usd_micros:
        raise ValueError(f"grant {grant_id} does not cover {usd} dollars more")
    row.uses += 1
    row.used_usd_micros += micros
    tx.session.add(row)
    tx.session.flush()


def revoke(tx: Tx, grant_id: GrantId, *, by: str) -> Grant:
    """Let a grant count no more; nothing if it was taken back before. Raises NotFound."""
    row = _row(tx, grant_id)
    if row.revoked_at is None:
        row.revoked_at = tx.now
        row.revoked_by = by
        tx.session.add(row)
        tx.session.flush()
    return _model(row)
