"""A certificate authority for tests."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orquanta.v1 import repair_pb2


@dataclass(frozen=True, slots=True)
class KeyPair:
    certificate_pem: bytes
    key_pem: bytes


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(_name("test authority"))
            .issuer_name(_name("test authority"))
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = _pem(self._certificate)
        self.der = self._certificate.public_bytes(serialization.Encoding.DER)

    def server(
        self, *, dns: str = "localhost", address: str = "127.0.0.1", not_after: datetime | None = None
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            x509.DNSName(dns),
            x509.IPAddress(ipaddress.ip_address(address)),
        ]
        certificate = self._issue(
            key.public_key(), names, timedelta(days=-2), not_after or datetime.now(UTC) + timedelta(days=2)
        )
        return KeyPair(
            certificate,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def sign_node(
        self,
        csr_pem: bytes,
        node_id: str,
        *,
        lifetime: timedelta = timedelta(days=1),
        starts_in: timedelta = timedelta(minutes=-1),
    ) -> bytes:
        request = x509.load_pem_x509_csr(csr_pem)
        assert request.is_signature_valid
        public_key = request.public_key()
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        names = [x509.UniformResourceIdentifier(f"orquanta://node/{node_id}")]
        return self._issue(public_key, names, starts_in, datetime.now(UTC) + lifetime)

    def sign_policy(self, policy: repair_pb2.LocalPolicy) -> repair_pb2.SignedPolicy:
        data = policy.SerializeToString()
        signature = self._key.sign(b"orquanta-local-policy-v1\n" + data, ec.ECDSA(hashes.SHA256()))
        return repair_pb2.SignedPolicy(policy=data, signature=signature)

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        names: list[x509.GeneralName] | list[x509.UniformResourceIdentifier],
        starts_in: timedelta,
        not_after: datetime,
    ) -> bytes:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name("test"))
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) + starts_in)
            .not_valid_after(not_after)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _pem(certificate)


def key_of_request(csr_pem: bytes) -> bytes:
    """Return the public key of a signing request."""
    return (
        x509.load_pem_x509_csr(csr_pem)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def node_id_of(certificate_pem: bytes) -> str:
    """Return the node that a client certificate names."""
    leaf = x509.load_pem_x509_certificates(certificate_pem)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0].removeprefix("orquanta://node/")


def serial_of(certificate_pem: bytes) -> int:
    """Return the serial number of the first certificate."""
    return x509.load_pem_x509_certificates(certificate_pem)[0].serial_number
