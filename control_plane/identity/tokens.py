"""Access tokens of people: signed JWTs that live 15 minutes."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from control_plane.clock import Clock
from control_plane.errors import InvalidArgument, Unauthenticated
from control_plane.model.identity import CredentialKind, Principal, Role
from control_plane.model.ids import UserId, parse_user_id

_ALGORITHM: Final = "HS256"
_NAME: Final = "orquanta"  # issuer and audience
_CLAIMS: Final = ("iss", "aud", "exp", "iat", "sub", "role", "email", "jti")
_KEY_BYTES: Final = 32
_MAX_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token to hand to a person. `token_id` is its jti."""

    text: str = field(repr=False)
    token_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    valid_until: datetime


class AccessTokens:
    """Issues and verifies access tokens. Safe to use from several threads.

    Up to `cache_size` verified tokens are remembered (about 1 KB each), the least recently used go first; a
    remembered token is refused from the same moment on as a fresh one. `leeway_seconds` is how far the clocks
    of two control planes may be apart.
    """

    def __init__(
        self,
        key: bytes,
        *,
        clock: Clock,
        lifetime_seconds: int = 900,
        leeway_seconds: int = 30,
        cache_size: int = 4096,
    ) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"the signing key must have {_KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._clock = clock
        self._lifetime = timedelta(seconds=lifetime_seconds)
        self._leeway = timedelta(seconds=leeway_seconds)
        self._cache_size = cache_size
        self._verified: OrderedDict[str, _Verified] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self, user_id: UserId, email: str, role: Role) -> AccessToken:
        """Return a token for a person who has just proved who they are."""
        issued_at = self._clock.now().replace(microsecond=0)
        expires_at = issued_at + self._lifetime
        token_id = secrets.token_hex(16)
        claims = {
            "iss": _NAME,
            "aud": _NAME,
            "iat": int(issued_at.timestamp()),
            "exp": int(expires_at.timestamp()),
            "sub": user_id,
            "email": email,
            "role": role.value,
            "jti": token_id,
        }
        text = jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        return AccessToken(text=text, token_id=token_id, expires_at=expires_at)

    def verify(self, text: str) -> Principal:
        """Return the person that a token stands for.

        Raises:
            Unauthenticated: TOKEN_EXPIRED, TOKEN_INVALID.
        """
        now = self._clock.now()
        with self._lock:
            known = self._verified.get(text)
            if known is not None and now < known.valid_until:
                self._verified.move_to_end(text)
                return known.principal
        verified = self._decode(text, now)
        with self._lock:
            self._verified[text] = verified
            while len(self._verified) > self._cache_size:
                self._verified.popitem(last=False)
        return verified.principal

    def _decode(self, text: str, now: datetime) -> _Verified:
        if len(text) > _MAX_CHARACTERS:
            raise _invalid(f"it has more than {_MAX_CHARACTERS} characters")
        try:
            claims: dict[str, Any] = jwt.decode(  # Any: JSON, checked field by field below
                text,
                self._key,
                algorithms=[_ALGORITHM],
                audience=_NAME,
                issuer=_NAME,
                # The dates are checked below, by the injected clock.
                options={
                    "require": list(_CLAIMS),
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "strict_aud": True,
                },
            )
        except (jwt.InvalidTokenError, ValueError) as error:
            raise _invalid(f"{error}") from None
        valid_until = _time(claims, "exp") + self._leeway
        if _time(claims, "iat") > now + self._leeway:
            raise _invalid("it is from the future: compare the clocks of the control planes")
        if now >= valid_until:
            raise Unauthenticated(
                "the access token has expired: log in again, or use an API key for scripts",
                reason="TOKEN_EXPIRED",
            )
        return _Verified(principal=_principal(claims), valid_until=valid_until)


def _principal(claims: dict[str, Any]) -> Principal:
    subject, email, role, token_id = (claims[name] for name in ("sub", "email", "role", "jti"))
    if not all(isinstance(value, str) for value in (subject, email, role, token_id)):
        raise _invalid("a claim has the wrong type")
    try:
        return Principal(
            user_id=parse_user_id(subject),
            email=email,
            role=Role.parse(role),
            credential=CredentialKind.ACCESS_TOKEN,
            credential_id=token_id,
        )
    except InvalidArgument as error:
        raise _invalid(error.message) from None


def _time(claims: dict[str, Any], name: str) -> datetime:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid(f"its {name} is not a number of seconds")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise _invalid(f"its {name} is out of range") from None


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(f"the access token is not valid ({why}): log in again", reason="TOKEN_INVALID")
