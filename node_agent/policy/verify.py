"""Checks the signature of a local policy: the only user of `cryptography` beside the link's keys.

It runs in a short-lived child (`python -m node_agent.policy.verify CA_FILE`, a SignedPolicy on stdin), because the
library costs the daemon 8 MB for something it does a few times a day. The parent's side is in keeper.py.
"""

import sys
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from orquanta.v1 import repair_pb2

PREFIX: Final = b"orquanta-local-policy-v1\n"
_RSA_BITS: Final = range(2048, 16_384 + 1)
"""Smaller keys can be broken; larger ones are a way to keep the host busy."""
_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


class SignatureInvalid(Exception):
    """Nobody that the host trusts has signed the policy."""


def verify(ca_pem: bytes, signed: repair_pb2.SignedPolicy) -> None:
    """Return if one of the authorities in `ca_pem` has signed the policy; raises SignatureInvalid.

    ECDSA with SHA-256, or RSASSA-PSS with SHA-256 and a salt of 32 bytes, as the authority's key is.
    """
    try:
        roots = x509.load_pem_x509_certificates(ca_pem)
    except ValueError as error:
        raise SignatureInvalid("the certificate authority that this host trusts cannot be read") from error
    for root in roots:
        try:
            if _verify(root, signed.signature, PREFIX + signed.policy):
                return
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            continue
    raise SignatureInvalid("it was not signed by the certificate authority that this host trusts")


def _verify(root: x509.Certificate, signature: bytes, statement: bytes) -> bool:
    """Return False for a key of a kind that signs no policies; raises InvalidSignature."""
    key = root.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
        return True
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        key.verify(signature, statement, _PSS, hashes.SHA256())
        return True
    return False


def main(arguments: list[str]) -> int:
    """Check the policy on stdin; the exit code is 1, with the reason on stderr, if it is not signed."""
    if len(arguments) != 1:
        sys.stderr.write("usage: verify CA_FILE\n")
        return 2
    try:
        signed = repair_pb2.SignedPolicy.FromString(sys.stdin.buffer.read())
        verify(Path(arguments[0]).read_bytes(), signed)
    except (OSError, SignatureInvalid) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
