"""What a control plane signs with an authority of each kind, checked as a host does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from control_plane.errors import PreconditionFailed
from control_plane.identity.ca import CertificateAuthority
from node_agent.clock import SystemClock
from node_agent.policy.verify import PREFIX, SignatureInvalid, verify
from orquanta.v1 import repair_pb2

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
POLICY = b"a policy"

KINDS = [
    pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), id="P-256"),
    pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), id="P-384"),
    pytest.param(lambda: rsa.generate_private_key(65537, 2048), id="RSA-2048"),
    pytest.param(lambda: rsa.generate_private_key(65537, 3072), id="RSA-3072"),
]


def bring(directory: Path, key: Key) -> CertificateAuthority:
    """An authority as an operator brings it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An operator's own")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=20))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "ca.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (directory / "ca.key").chmod(0o600)
    return CertificateAuthority.load(directory / "ca.pem", directory / "ca.key", clock=SystemClock())


@pytest.mark.parametrize("make", KINDS)
def test_a_policy_of_an_authority_of_each_kind_is_believed_and_a_changed_one_is_not(
    tmp_path: Path, make: Callable[[], Key]
) -> None:
    authority = bring(tmp_path, make())
    signature = authority.sign_statement(PREFIX + POLICY)
    verify(authority.trust_pem, repair_pb2.SignedPolicy(policy=POLICY, signature=signature))
    for policy, wrong in (
        (POLICY + b"!", signature),
        (POLICY, signature[:-1] + bytes([signature[-1] ^ 1])),
        (POLICY, b""),
        (POLICY, authority.sign_statement(POLICY)),
    ):
        with pytest.raises(SignatureInvalid):
            verify(authority.trust_pem, repair_pb2.SignedPolicy(policy=policy, signature=wrong))


def test_an_rsa_signature_of_the_kind_that_certificates_bear_is_refused(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    signature = key.sign(PREFIX + POLICY, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(SignatureInvalid):
        verify(bring(tmp_path, key).trust_pem, repair_pb2.SignedPolicy(policy=POLICY, signature=signature))


def test_an_authority_with_a_weak_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="1024 bits"):
        bring(tmp_path, rsa.generate_private_key(65537, 1024))
