"""Who a bearer credential stands for: a JWT or an API key, of an account that is not disabled.

Accounts and keys are read from the store and remembered for a few seconds; what this process changes is
forgotten at once, so a disabled account or a revoked key is refused from the very next call.
"""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from control_plane.clock import Clock
from control_plane.errors import Unauthenticated
from control_plane.identity.credentials import looks_like_api_key, parse_api_key, secret_matches
from control_plane.identity.tokens import AccessTokens
from control_plane.model.account import ApiKeyRecord, User
from control_plane.model.identity import CredentialKind, Principal, Role
from control_plane.model.ids import KeyId, UserId
from control_plane.store import keys, users
from control_plane.store.database import Store

FRESH_SECONDS: Final = 5.0
"""How long a change made by another control plane may go unnoticed here."""

_REMEMBERED_MAX: Final = 10_000  # accounts and keys each, about 300 bytes apiece
_CREDENTIAL_CHARACTERS_MAX: Final = 4_096

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class RecentlyRead(Generic[_Key, _Value]):
    """Values read from the store, each remembered for `FRESH_SECONDS`; the oldest go first when full."""

    def __init__(self, load: Callable[[_Key], Awaitable[_Value]], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._values: dict[_Key, tuple[_Value, float]] = {}
        self._generation = 0

    def known(self, key: _Key) -> _Value | None:
        """Return the remembered value, or None if there is none that is fresh."""
        entry = self._values.get(key)
        return entry[0] if entry is not None and self._clock.monotonic() < entry[1] else None

    async def get(self, key: _Key) -> _Value:
        """Return the value, from memory if it is fresh there."""
        value = self.known(key)
        if value is not None:
            return value
        generation, read_at = self._generation, self._clock.monotonic()
        value = await self._load(key)
        if generation == self._generation:  # otherwise it may have been read before the change
            self._values.pop(key, None)
            while len(self._values) >= _REMEMBERED_MAX:
                del self._values[next(iter(self._values))]
            self._values[key] = (value, read_at + FRESH_SECONDS)
        return value

    def forget(self, key: _Key) -> None:
        """Read the value anew next time; to be called after the change was committed."""
        self._generation += 1
        self._values.pop(key, None)


@dataclass(frozen=True, slots=True)
class _Standing:
    """What an account may do at the moment."""

    email: str
    role: Role
    disabled: bool


@dataclass(frozen=True, slots=True)
class _KnownKey:
    """An API key's record and hash; both None for an id that no key has."""

    record: ApiKeyRecord | None
    secret_sha256: bytes | None


class Authenticator:
    """Turns the credential of a call into the person it stands for."""

    def __init__(self, *, store: Store, access_tokens: AccessTokens, clock: Clock) -> None:
        self._store = store
        self._access_tokens = access_tokens
        self._clock = clock
        self._accounts = RecentlyRead(self._read_account, clock)
        self._keys = RecentlyRead(self._read_key, clock)

    def known(self, credential: str) -> Principal | None:
        """Return who this is if memory can tell, else None.

        Raises:
            Unauthenticated: TOKEN_EXPIRED, TOKEN_INVALID, API_KEY_INVALID, API_KEY_EXPIRED, ACCOUNT_DISABLED.
        """
        if looks_like_api_key(credential):
            api_key = parse_api_key(credential)
            known = self._keys.known(api_key.key_id)
            if known is None:
                return None
            record = self._checked_key(known, api_key.secret)
            account = self._accounts.known(record.user_id)
            return None if account is None else _key_principal(record, account)
        principal = self._access_tokens.verify(credential)
        account = self._accounts.known(principal.user_id)
        return None if account is None else _as_of_now(principal, account)

    async def authenticate(self, credential: str) -> Principal:
        """Return who this is. Raises as `known`, and Unavailable when the store is away."""
        if len(credential) > _CREDENTIAL_CHARACTERS_MAX:
            raise Unauthenticated(
                "the credential is too long to be a token or an API key; log in again with `orquanta login`",
                reason="TOKEN_INVALID",
            )
        if looks_like_api_key(credential):
            api_key = parse_api_key(credential)
            record = self._checked_key(await self._keys.get(api_key.key_id), api_key.secret)
            return _key_principal(record, await self._accounts.get(record.user_id))
        principal = self._access_tokens.verify(credential)
        return _as_of_now(principal, await self._accounts.get(principal.user_id))

    async def renewed(self, principal: Principal) -> Principal:
        """Return the caller of a stream as they are now; their token's expiry does not end what is running.

        Raises:
            Unauthenticated: ACCOUNT_DISABLED, API_KEY_INVALID, API_KEY_EXPIRED.
        """
        if principal.credential is CredentialKind.API_KEY:
            record = (await self._keys.get(KeyId(principal.credential_id))).record
            self._checked_record(record)
        return _as_of_now(principal, await self._accounts.get(principal.user_id))

    def forget_account(self, user_id: UserId) -> None:
        """Take note that an account was changed."""
        self._accounts.forget(user_id)

    def forget_key(self, key_id: KeyId) -> None:
        """Take note that an API key was changed."""
        self._keys.forget(key_id)

    def _checked_key(self, known: _KnownKey, secret: bytes) -> ApiKeyRecord:
        right = secret_matches(secret, known.secret_sha256)
        return self._checked_record(known.record if right else None)

    def _checked_record(self, record: ApiKeyRecord | None) -> ApiKeyRecord:
        if record is None or record.revoked_at is not None:
            raise Unauthenticated(
                "the API key is unknown or revoked; log in with `orquanta login` and make another",
                reason="API_KEY_INVALID",
            )
        if self._clock.now() >= record.expires_at:
            raise Unauthenticated(
                f"the API key expired at {record.expires_at.isoformat()}; make another", reason="API_KEY_EXPIRED"
            )
        return record

    async def _read_account(self, user_id: UserId) -> _Standing:
        user: User | None = await self._store.read(lambda tx: users.get(tx, user_id))
        if user is None:
            return _Standing(email="", role=Role.VIEWER, disabled=True)
        return _Standing(email=user.email, role=user.role, disabled=user.disabled)

    async def _read_key(self, key_id: KeyId) -> _KnownKey:
        found = await self._store.read(lambda tx: keys.get(tx, key_id))
        return _KnownKey(None, None) if found is None else _KnownKey(*found)


def _as_of_now(principal: Principal, account: _Standing) -> Principal:
    """The account's role counts, not the one that the token was issued with."""
    _refuse_disabled(account)
    return principal if principal.role is account.role else replace(principal, role=account.role)


def _key_principal(record: ApiKeyRecord, account: _Standing) -> Principal:
    _refuse_disabled(account)
    return Principal(
        user_id=record.user_id,
        email=account.email,
        role=account.role,
        credential=CredentialKind.API_KEY,
        credential_id=record.id,
        for_agent=record.for_agent,
    )


def _refuse_disabled(account: _Standing) -> None:
    if account.disabled:
        raise Unauthenticated(
            "the account is disabled or gone; ask an administrator to enable it", reason="ACCOUNT_DISABLED"
        )
