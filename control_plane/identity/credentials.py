"""API keys of people and join tokens of hosts.

Both carry an id, by which the record is found, and a secret, of which only the SHA-256 is stored:

    oqk_<key id>_<secret>                                            API key
    oqj_<token id>_<secret>_<base64url of the CA certificate, DER>   join token

The secret is 32 bytes as 52 characters of lower-case base32 (RFC 4648, no padding). It is derived from the
server's key and the id, so that a create that is retried with the same request id returns the same secret,
without its being stored. A join token carries the CA's certificate so that a fresh host can verify the server
from the first byte; it can be used once and expires, both of which the record says.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from control_plane.errors import InvalidArgument, Unauthenticated
from control_plane.model.ids import KEY, TOKEN, KeyId, TokenId, parse_id

API_KEY_START: Final = "oqk_"
JOIN_TOKEN_START: Final = "oqj_"  # noqa: S105 - how every join token begins

_KEY_BYTES: Final = 32
_SECRET_CHARACTERS: Final = 52
_MAX_CHARACTERS: Final = 8192
_NO_RECORD: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """A credential to show once (`text`), and what to store of it: the 32 bytes of `secret_sha256`."""

    text: str = field(repr=False)
    secret_sha256: bytes


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key that somebody presented: well formed, not yet checked against its record."""

    key_id: KeyId
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token that somebody presented: well formed, not yet checked against its record."""

    token_id: TokenId
    secret: bytes = field(repr=False)
    ca_certificate_der: bytes


class Credentials:
    """Makes API keys and join tokens from the server's derivation key (32 bytes)."""

    def __init__(self, derivation_key: bytes) -> None:
        if len(derivation_key) != _KEY_BYTES:
            raise ValueError(f"the derivation key must have {_KEY_BYTES} bytes, not {len(derivation_key)}")
        self._key = derivation_key

    def api_key(self, key_id: KeyId) -> IssuedSecret:
        """Return the API key with this id; the same id always gives the same key."""
        secret = self._derive("api key", key_id)
        return IssuedSecret(f"{API_KEY_START}{key_id}_{_encode(secret)}", _hash(secret))

    def join_token(self, token_id: TokenId, ca_certificate_der: bytes) -> IssuedSecret:
        """Return the join token with this id; the same id always gives the same secret."""
        secret = self._derive("join token", token_id)
        ca = _encode_certificate(ca_certificate_der)
        return IssuedSecret(f"{JOIN_TOKEN_START}{token_id}_{_encode(secret)}_{ca}", _hash(secret))

    def _derive(self, purpose: str, item_id: str) -> bytes:
        return hmac.digest(self._key, f"orquanta {purpose}\0{item_id}".encode(), "sha256")


def looks_like_api_key(text: str) -> bool:
    """Return whether a bearer credential is meant as an API key rather than an access token."""
    return text.startswith(API_KEY_START)


def parse_api_key(text: str) -> ApiKey:
    """Take an API key apart.

    Raises:
        Unauthenticated: API_KEY_INVALID; it is not of the form of an API key.
    """
    try:
        key_id, secret = _fields(text, API_KEY_START, 2)
        return ApiKey(key_id=parse_id(KEY, key_id), secret=_decode(secret))
    except (ValueError, InvalidArgument):
        raise Unauthenticated(
            "this is not an API key: it has the form oqk_<key id>_<secret>; check that it was copied whole, "
            "or create another",
            reason="API_KEY_INVALID",
        ) from None


def parse_join_token(text: str) -> JoinToken:
    """Take a join token apart.

    Raises:
        Unauthenticated: JOIN_TOKEN_INVALID; it is not of the form of a join token.
    """
    try:
        token_id, secret, ca = _fields(text, JOIN_TOKEN_START, 3)
        der = base64.b64decode(ca + "=" * (-len(ca) % 4), altchars=b"-_", validate=True)
        if _encode_certificate(der) != ca:
            raise ValueError("not the one way to write this certificate")  # noqa: TRY301 - one exit for all
        x509.load_der_x509_certificate(der)
        return JoinToken(parse_id(TOKEN, token_id), _decode(secret), der)
    except (ValueError, InvalidArgument):
        raise Unauthenticated(
            "this is not a join token: it has the form oqj_<token id>_<secret>_<certificate>; check that it "
            "was copied whole, or create another with `orquanta node token create`",
            reason="JOIN_TOKEN_INVALID",
        ) from None


def secret_matches(secret: bytes, stored_sha256: bytes | None) -> bool:
    """Compare a presented secret with the stored hash in constant time; None: there is no such record."""
    same = hmac.compare_digest(_hash(secret), _NO_RECORD if stored_sha256 is None else stored_sha256)
    return same and stored_sha256 is not None


def _fields(text: str, start: str, count: int) -> list[str]:
    """What stands between the underscores after `start`; the last field may hold underscores itself."""
    fields = text.removeprefix(start).split("_", count - 1)
    if len(text) > _MAX_CHARACTERS or not text.startswith(start) or len(fields) != count:
        raise ValueError("not of this form")
    return fields


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _encode_certificate(der: bytes) -> str:
    return base64.urlsafe_b64encode(der).decode().rstrip("=")


def _encode(secret: bytes) -> str:
    return base64.b32encode(secret).decode().rstrip("=").lower()


def _decode(text: str) -> bytes:
    if len(text) != _SECRET_CHARACTERS or not text.isascii() or text != text.lower():
        raise ValueError("not a secret")
    try:
        secret = base64.b32decode(text.upper() + "====")
    except binascii.Error as error:
        raise ValueError("not base32") from error
    if _encode(secret) != text:
        raise ValueError("not the one way to write this secret")
    return secret
