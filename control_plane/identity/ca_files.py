"""The CA's key and certificate on disk."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from control_plane.errors import PreconditionFailed
from control_plane.identity.files import (
    create_private,
    private_directory,
    read_private,
    read_public,
    replace_file,
)

KEY_FILE: Final = "ca.key"
CERTIFICATE_FILE: Final = "ca.crt"

_LIFE: Final = timedelta(days=3653)  # ten years
_BACKDATED: Final = timedelta(hours=48)  # so that what the CA signs may itself be backdated by 24 hours
_RSA_BITS: Final = range(2048, 16_384 + 1)

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class CaMaterial:
    """A CA's key and its certificate chain: first the one whose key this is, last the root."""

    key: CaKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """What a peer that trusts the root alone must be shown beside a leaf."""
        return self.chain[:-1]


def load_or_create(directory: Path, *, now: datetime, passphrase: bytes | None) -> CaMaterial:
    """Open the CA in `directory`, or make one. Raises as `CertificateAuthority.load_or_create`."""
    private_directory(directory)
    key_file, certificate_file = directory / KEY_FILE, directory / CERTIFICATE_FILE
    key_pem = read_private(key_file)
    if key_pem is None:
        if read_public(certificate_file) is not None:
            raise PreconditionFailed(
                f"{certificate_file} is there but its key {key_file} is not: restore the key from a backup; "
                "or remove the certificate to make a fresh CA, after which every node has to join again",
                reason="CA_KEY_MISSING",
            )
        key_pem = create_private(key_file, _new_key_pem(passphrase))
    key = _parse_key(key_file, key_pem, passphrase)
    if read_public(certificate_file) is None and isinstance(key, ec.EllipticCurvePrivateKey):
        certificate = _self_signed(key, now)
        replace_file(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return load(certificate_file, key_file, now=now, passphrase=passphrase)


def load(certificate_file: Path, key_file: Path, *, now: datetime, passphrase: bytes | None) -> CaMaterial:
    """Open a CA by its files. Raises as `CertificateAuthority.load`."""
    key_pem = read_private(key_file)
    if key_pem is None:
        raise PreconditionFailed(
            f"the CA key {key_file} does not exist: give the path of the key", reason="CA_KEY_MISSING"
        )
    key = _parse_key(key_file, key_pem, passphrase)
    chain_pem = read_public(certificate_file)
    if chain_pem is None:
        raise _invalid(certificate_file, "it does not exist")
    try:
        chain = tuple(x509.load_pem_x509_certificates(chain_pem))
    except ValueError as error:
        raise _invalid(certificate_file, f"it cannot be read ({error})") from None
    _check_chain(certificate_file, chain, key, now)
    return CaMaterial(key=key, chain=chain)


def _check_chain(path: Path, chain: tuple[x509.Certificate, ...], key: CaKey, now: datetime) -> None:
    if _spki(chain[0].public_key()) != _spki(key.public_key()):
        raise _invalid(path, "its first certificate does not belong to the CA key")
    for number, certificate in enumerate(chain, start=1):
        issuer = chain[min(number, len(chain) - 1)]
        try:
            certificate.verify_directly_issued_by(issuer)
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            raise _invalid(path, f"certificate {number} is not one of a CA") from None
        except (ValueError, TypeError, InvalidSignature, x509.DuplicateExtension, UnsupportedAlgorithm):
            raise _invalid(path, f"certificate {number} is not signed by the next, up to a root") from None
        if not constraints.ca:
            raise _invalid(path, f"certificate {number} is not one of a CA")
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= now <= end:
            raise PreconditionFailed(
                f"certificate {number} in {path} is valid from {begin.isoformat()} to {end.isoformat()}, and "
                f"now it is {now.isoformat()}: set this machine's clock, or bring a fresh CA and join the "
                "nodes again",
                reason="CA_EXPIRED",
            )


def _parse_key(path: Path, pem: bytes, passphrase: bytes | None) -> CaKey:
    try:
        key = serialization.load_pem_private_key(pem, password=passphrase)
    except TypeError:
        hint = (
            "is encrypted: give its passphrase"
            if passphrase is None
            else "is not encrypted: leave out the passphrase, or encrypt the key with it"
        )
        raise PreconditionFailed(f"the CA key {path} {hint}", reason="CA_PASSPHRASE") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if passphrase is not None:
            raise PreconditionFailed(
                f"the CA key {path} does not open with this passphrase ({error}): give the right one",
                reason="CA_PASSPHRASE",
            ) from None
        raise _invalid(path, f"it is not a PEM private key ({error})") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise _invalid(path, "its key is neither an elliptic-curve nor an RSA key")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size not in _RSA_BITS:
        raise _invalid(path, f"its RSA key has {key.key_size} bits, where 2048 to 16384 are good")
    return key


def _new_key_pem(passphrase: bytes | None) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
    )


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    now = now.replace(microsecond=0)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "OrQuanta"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"OrQuanta CA {identifier.digest.hex()[:8]}"),
        ]
    )
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return b""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _invalid(path: Path, why: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"{path} cannot serve as the CA: {why}; restore it from a backup or give the right file",
        reason="CA_INVALID",
    )
