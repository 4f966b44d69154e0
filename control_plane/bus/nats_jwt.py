"""The JWTs that NATS uses between server and auth callout (nats-io/jwt, version 2): signed with Ed25519 nkeys."""

import base64
import hashlib
import json
from typing import Any, Final

import nkeys

_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}
_MAX_BYTES: Final = 1 << 20


class MalformedJwt(ValueError):
    """The text is not a JWT with a JSON object inside."""


class Issuer:
    """Signs claims with an account's key."""

    def __init__(self, seed: bytes) -> None:
        self._keys = nkeys.from_seed(seed)
        self.public_key: str = self._keys.public_key.decode()

    def sign(self, claims: dict[str, Any]) -> str:
        """Return the JWT of `claims` with issuer and id filled in. Any: JSON."""
        claims = {**claims, "iss": self.public_key}
        digest = hashlib.sha256(_json(claims)).digest()
        claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
        signed = f"{_encode(_json(_HEADER))}.{_encode(_json(claims))}"
        return f"{signed}.{_encode(self._keys.sign(signed.encode()))}"


def claims_of(token: bytes) -> dict[str, Any]:
    """Return the claims of a JWT that came over a trusted connection; its signature is not checked. Any: JSON.

    Raises:
        MalformedJwt: it is none.
    """
    parts = token[: _MAX_BYTES + 1].split(b".")
    if len(token) > _MAX_BYTES or len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        raise MalformedJwt("not three parts")
    try:
        claims = json.loads(base64.b64decode(parts[1] + b"=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:
        raise MalformedJwt(str(error)) from None
    if not isinstance(claims, dict):
        raise MalformedJwt("the claims are not an object")
    return claims


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
