"""Accounts in the database."""

from decimal import Decimal

from sqlalchemy import func, select
from sqlmodel import col

from control_plane.errors import AlreadyExists, NotFound
from control_plane.model.account import User
from control_plane.model.identity import Role
from control_plane.model.ids import UserId
from control_plane.model.money import from_micros, optional_from_micros, optional_to_micros, to_micros
from control_plane.store import teams
from control_plane.store.database import Tx
from control_plane.store.pages import Page, PageRequest, by_key
from control_plane.store.tables import UserRow


def _model(row: UserRow) -> User:
    return User(
        id=UserId(row.id),
        email=row.email,
        role=Role(row.role),
        disabled=row.disabled,
        created_at=row.created_at,
        budget_usd=optional_from_micros(row.budget_usd_micros),
        spent_usd=from_micros(row.spent_usd_micros),
        reserved_usd=from_micros(row.reserved_usd_micros),
        max_gpus=row.max_gpus,
        team=row.team,
    )


def _row(tx: Tx, user_id: UserId) -> UserRow:
    row = tx.session.get(UserRow, user_id)
    if row is None:
        raise NotFound(f"there is no user {user_id}; list them with: orquanta user list", reason="USER_NOT_FOUND")
    return row


def _by_email(tx: Tx, email: str) -> UserRow | None:
    return tx.session.execute(select(UserRow).where(col(UserRow.email) == email.lower())).scalars().first()


def get(tx: Tx, user_id: UserId) -> User | None:
    """Return the account, or None."""
    row = tx.session.get(UserRow, user_id)
    return None if row is None else _model(row)


def require(tx: Tx, user_id: UserId) -> User:
    """Return the account. Raises NotFound."""
    return _model(_row(tx, user_id))


def by_email(tx: Tx, email: str) -> User | None:
    """Return the account with this address, in any case, or None."""
    row = _by_email(tx, email)
    return None if row is None else _model(row)


def password_hash(tx: Tx, email: str) -> tuple[User, str] | None:
    """Return the account and its password hash, or None."""
    row = _by_email(tx, email)
    return None if row is None else (_model(row), row.password_hash)


def insert(tx: Tx, user: User, hashed_password: str) -> None:
    """Record an account. Raises AlreadyExists when the address is taken."""
    if _by_email(tx, user.email) is not None:
        raise AlreadyExists(f"{user.email} has an account already", reason="EMAIL_TAKEN")
    tx.session.add(
        UserRow(
            id=user.id,
            email=user.email.lower(),
            password_hash=hashed_password,
            role=user.role.value,
            disabled=user.disabled,
            created_at=user.created_at,
            budget_usd_micros=optional_to_micros(user.budget_usd),
            max_gpus=user.max_gpus,
            team=user.team,
        )
    )
    tx.session.flush()


def update(
    tx: Tx,
    user_id: UserId,
    *,
    role: Role | None = None,
    disabled: bool | None = None,
    budget_usd: Decimal | None = None,
    max_gpus: int | None = None,
) -> User:
    """Change what is given and return the account; a negative budget lifts the limit. Raises NotFound."""
    row = _row(tx, user_id)
    if role is not None:
        row.role = role.value
    if disabled is not None:
        row.disabled = disabled
    if budget_usd is not None:
        row.budget_usd_micros = None if budget_usd < 0 else to_micros(budget_usd)
    if max_gpus is not None:
        row.max_gpus = max_gpus
        teams.announce(tx, f"{row.email} may hold {max_gpus} GPUs")
    tx.session.add(row)
    return _model(row)


def set_team(tx: Tx, user_id: UserId, team: str) -> User:
    """Put the account into a team, or out of every team; its jobs stay where they began. Raises NotFound."""
    row = _row(tx, user_id)
    row.team = team
    tx.session.add(row)
    teams.announce(tx, f"{row.email} is in team {team}" if team else f"{row.email} is in no team")
    return _model(row)


def gpu_limits(tx: Tx) -> dict[UserId, int]:
    """Return the accounts that may hold more or fewer GPUs than the settings say, and how many."""
    query = select(col(UserRow.id), col(UserRow.max_gpus)).where(col(UserRow.max_gpus).is_not(None))
    return {UserId(user_id): int(most) for user_id, most in tx.session.execute(query) if most is not None}


def set_password_hash(tx: Tx, user_id: UserId, hashed_password: str) -> None:
    """Change the password. Raises NotFound."""
    row = _row(tx, user_id)
    row.password_hash = hashed_password
    tx.session.add(row)


def account(tx: Tx, user_id: UserId, *, spent_usd: Decimal, reserved_usd: Decimal) -> None:
    """Add to what the user has spent and reserved; either may be negative. Raises NotFound."""
    row = _row(tx, user_id)
    row.spent_usd_micros += to_micros(spent_usd)
    row.reserved_usd_micros += to_micros(reserved_usd)
    tx.session.add(row)


def page(tx: Tx, request: PageRequest) -> Page[User]:
    """Return a page of accounts by e-mail."""
    rows, token = by_key(tx.session, select(UserRow), request, col(UserRow.email))
    return Page(tuple(_model(row) for row in rows), token)


def count(tx: Tx) -> int:
    """Return how many accounts there are."""
    return int(tx.session.execute(select(func.count()).select_from(UserRow)).scalar_one())


def totals(tx: Tx) -> tuple[Decimal, Decimal]:
    """Return what all users together have spent and reserved."""
    query = select(
        func.coalesce(func.sum(col(UserRow.spent_usd_micros)), 0),
        func.coalesce(func.sum(col(UserRow.reserved_usd_micros)), 0),
    )
    spent, reserved = tx.session.execute(query).one()
    return from_micros(int(spent)), from_micros(int(reserved))
