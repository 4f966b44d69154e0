"""The certificate authority: built in, made at the first start, or one that you bring."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from control_plane.clock import Clock
from control_plane.errors import InvalidArgument, PreconditionFailed
from control_plane.identity import ca_files
from control_plane.identity.certificates import fingerprint_sha256, node_uri, serial_text
from control_plane.identity.names import general_names
from control_plane.model.identity import CertificateSerial
from control_plane.model.ids import NodeId

BACKDATED: Final = timedelta(hours=24)
"""Certificates begin this long before they are made, so that a host whose clock is behind can still connect;
its clock error is then reported by name instead of as a failed handshake."""

_MAX_CSR_BYTES: Final = 16_384
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 4096  # checking a signature of a larger key is a way to keep the server busy
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)

_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)

_PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate that this CA has signed. `certificate_pem` is the leaf and then any intermediates."""

    certificate_pem: bytes
    serial: CertificateSerial
    not_before: datetime
    not_after: datetime
    fingerprint_sha256: str


@dataclass(frozen=True, slots=True)
class IssuedKeyPair:
    """A certificate and its private key (PEM, PKCS #8, not encrypted)."""

    certificate: IssuedCertificate
    key_pem: bytes = field(repr=False)


class CertificateAuthority:
    """Signs the server's, the nodes' and the control plane's own certificates."""

    def __init__(self, material: ca_files.CaMaterial, *, clock: Clock) -> None:
        self._material = material
        self._clock = clock
        self.trust_pem = b"".join(_pem(certificate) for certificate in material.chain)
        self.root_der = material.chain[-1].public_bytes(serialization.Encoding.DER)
        self.fingerprint_sha256 = fingerprint_sha256(self.root_der)

    @classmethod
    def load_or_create(cls, directory: Path, *, clock: Clock, passphrase: bytes | None = None) -> Self:
        """Open the CA in `directory`; make one (ECDSA P-256, ten years) if there is none.

        Raises:
            PreconditionFailed: KEY_FILE_EXPOSED, CA_KEY_MISSING, CA_PASSPHRASE, CA_INVALID or CA_EXPIRED.
            ResourceExhausted: DISK_FULL.
        """
        return cls(ca_files.load_or_create(directory, now=clock.now(), passphrase=passphrase), clock=clock)

    @classmethod
    def load(cls, certificate_file: Path, key_file: Path, *, clock: Clock, passphrase: bytes | None = None) -> Self:
        """Open a CA that you bring: its certificate, followed by those above it up to the root, and its key.

        Raises:
            PreconditionFailed: as `load_or_create`.
        """
        material = ca_files.load(certificate_file, key_file, now=clock.now(), passphrase=passphrase)
        return cls(material, clock=clock)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate whose key signs."""
        return self._material.chain[0]

    def issue_server(self, names: Sequence[str], *, days: int = 90) -> IssuedKeyPair:
        """Make a key and a server certificate for host names and addresses.

        Raises:
            InvalidArgument: SERVER_NAME_INVALID.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return IssuedKeyPair(self.sign_server(key.public_key(), names, days=days), _key_pem(key))

    def sign_server(self, public_key: _PublicKey, names: Sequence[str], *, days: int) -> IssuedCertificate:
        """Sign a server certificate for an existing key. Raises as `issue_server`."""
        subject_names = general_names(names)
        return self._sign(
            public_key,
            common_name=names[0][:64],
            names=subject_names,
            usage=ExtendedKeyUsageOID.SERVER_AUTH,
            lifetime=timedelta(days=days),
        )

    def issue_client(self, name: str, *, days: int = 90) -> IssuedKeyPair:
        """Make a key and a client certificate that names no node: for the control plane's own connections."""
        key = ec.generate_private_key(ec.SECP256R1())
        return IssuedKeyPair(self.sign_client(key.public_key(), name, days=days), _key_pem(key))

    def sign_client(self, public_key: _PublicKey, name: str, *, days: int) -> IssuedCertificate:
        """Sign a client certificate that names no node, for an existing key."""
        return self._sign(
            public_key,
            common_name=name,
            names=[x509.UniformResourceIdentifier(f"orquanta://service/{name}")],
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
            lifetime=timedelta(days=days),
        )

    def sign_node_csr(self, csr_pem: bytes, node_id: NodeId, *, lifetime: timedelta) -> IssuedCertificate:
        """Sign a node's client certificate for the key of a signing request.

        Nothing but the key is taken from the request: names and extensions in it are ignored. The certificate
        runs for `lifetime` from now, and no longer than the CA itself.

        Raises:
            InvalidArgument: CSR_INVALID; not a PEM request, badly signed, or a weak or unknown kind of key.
        """
        return self._sign(
            _checked_key(csr_pem),
            common_name=node_id,
            names=[x509.UniformResourceIdentifier(node_uri(node_id))],
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
            lifetime=lifetime,
        )

    def sign_statement(self, statement: bytes) -> bytes:
        """Return this CA's signature over a statement. Whoever trusts the CA can check it.

        ECDSA with SHA-256 in DER, or RSASSA-PSS with SHA-256 and a salt of 32 bytes, as the CA's key is. The caller
        puts a prefix that names the kind of statement before it, so that one is not taken for another.
        """
        key = self._material.key
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(statement, _PSS, hashes.SHA256())
        return key.sign(statement, ec.ECDSA(hashes.SHA256()))

    def _sign(
        self,
        public_key: _PublicKey,
        *,
        common_name: str,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        lifetime: timedelta,
    ) -> IssuedCertificate:
        now = self._clock.now().replace(microsecond=0)
        ca = self.certificate
        if now + timedelta(minutes=1) > ca.not_valid_after_utc:
            raise PreconditionFailed(
                f"the CA certificate expires at {ca.not_valid_after_utc.isoformat()}: bring a fresh CA and "
                "join the nodes again",
                reason="CA_EXPIRED",
            )
        not_before = max(now - BACKDATED, ca.not_valid_before_utc)
        not_after = min(now + lifetime, ca.not_valid_after_utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(ca.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())  # 159 random bits
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(public_key), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
            .sign(self._material.key, hashes.SHA256())
        )
        return IssuedCertificate(
            certificate_pem=_pem(certificate) + b"".join(_pem(above) for above in self._material.intermediates),
            serial=serial_text(certificate.serial_number),
            not_before=not_before,
            not_after=not_after,
            fingerprint_sha256=fingerprint_sha256(certificate.public_bytes(serialization.Encoding.DER)),
        )

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._material.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _checked_key(csr_pem: bytes) -> _PublicKey:
    if len(csr_pem) > _MAX_CSR_BYTES:
        raise _csr_invalid(f"it is larger than {_MAX_CSR_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _csr_invalid(f"it cannot be read ({error})") from None
    if isinstance(key, rsa.RSAPublicKey):
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            raise _csr_invalid(f"its RSA key has {key.key_size} bits")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise _csr_invalid("its key is of another kind")
    try:
        signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        signed = False
    if not signed:
        raise _csr_invalid("its signature does not fit its key")
    return key


def _csr_invalid(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the certificate signing request is refused: {why}; send a PEM request with a P-256, P-384 or RSA "
        f"({_MIN_RSA_BITS} to {_MAX_RSA_BITS} bits) key",
        reason="CSR_INVALID",
    )


def _key_usage(public_key: _PublicKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=isinstance(public_key, rsa.RSAPublicKey),
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
