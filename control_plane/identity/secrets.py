"""The server's own secrets: random keys in files of mode 0600, made at the first start."""

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import nkeys

from control_plane.errors import PreconditionFailed
from control_plane.identity.files import create_private, private_directory, read_private

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SecretBox:
    """All secrets of one control plane. Replicas share the directory's content.

    jwt_key: signs access tokens, 32 bytes. derivation_key: API keys and join tokens are derived from it, 32
    bytes. nats_issuer_seed: nkey seed of the account that signs NATS grants. nats_control_password: of the
    control plane's own NATS user. audit_seed: of the Ed25519 key that signs checkpoints of the audit, 32 bytes.
    """

    jwt_key: bytes = field(repr=False)
    derivation_key: bytes = field(repr=False)
    nats_issuer_seed: bytes = field(repr=False)
    nats_control_password: str = field(repr=False)
    audit_seed: bytes = field(repr=False)

    @classmethod
    def load_or_create(cls, directory: Path) -> Self:
        """Read the secrets from `directory`; make those that are missing.

        Raises:
            PreconditionFailed: KEY_FILE_EXPOSED, KEY_FILE_INVALID or PATH_UNUSABLE.
            ResourceExhausted: DISK_FULL.
        """
        private_directory(directory)
        return cls(
            jwt_key=_key(directory / "jwt.key"),
            derivation_key=_key(directory / "derivation.key"),
            nats_issuer_seed=_issuer_seed(directory / "nats-issuer.seed"),
            nats_control_password=_key(directory / "nats-control.key").hex(),
            audit_seed=_key(directory / "audit.key"),
        )

    @property
    def nats_issuer_public_key(self) -> str:
        """The public key that the broker trusts for grants: "A" and 55 more characters."""
        public_key: bytes = nkeys.from_seed(self.nats_issuer_seed).public_key
        return public_key.decode()


def _key(path: Path) -> bytes:
    text = read_private(path)
    if text is None:
        text = create_private(path, base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise _invalid(path, f"{_KEY_BYTES} bytes in base64")
    return key


def _issuer_seed(path: Path) -> bytes:
    text = read_private(path)
    if text is None:
        seed: bytes = nkeys.encode_seed(secrets.token_bytes(_KEY_BYTES), nkeys.PREFIX_BYTE_ACCOUNT)
        text = create_private(path, seed + b"\n")
    found = text.strip()
    try:
        prefix, raw = nkeys.decode_seed(found)
        intact = prefix == nkeys.PREFIX_BYTE_ACCOUNT and nkeys.encode_seed(raw, prefix) == found
    except (nkeys.NkeysError, ValueError):
        intact = False
    if not intact:
        raise _invalid(path, "an nkey seed of an account (it begins with SA)")
    return found


def _invalid(path: Path, expected: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"{path} does not hold {expected}: restore it from a backup, or delete it to have a fresh one made "
        "(credentials that depend on it then stop working)",
        reason="KEY_FILE_INVALID",
    )
