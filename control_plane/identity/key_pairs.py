"""The server's own certificates on disk: made once, renewed in time, replaced when names or the CA change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.clock import Clock
from control_plane.errors import PreconditionFailed
from control_plane.identity.ca import CertificateAuthority, IssuedCertificate
from control_plane.identity.certificates import needs_renewal
from control_plane.identity.files import (
    create_private,
    private_directory,
    read_private,
    read_public,
    replace_file,
)
from control_plane.identity.names import general_names

_Sign = Callable[[ec.EllipticCurvePublicKey], IssuedCertificate]


@dataclass(frozen=True, slots=True)
class KeyPairFiles:
    """Where a certificate (leaf first) and its key lie, both PEM; renewal does not change the paths."""

    certificate: Path
    key: Path


def ensure_server_certificate(
    ca: CertificateAuthority, directory: Path, names: Sequence[str], *, clock: Clock, days: int = 90
) -> KeyPairFiles:
    """Make sure that `directory` holds a good server certificate for `names`: at start and now and then.

    It is signed again when less than a third of its life is left, its names differ or another CA signed it;
    the key stays, so that key and certificate always fit each other.

    Raises:
        InvalidArgument: SERVER_NAME_INVALID.
        PreconditionFailed: KEY_FILE_EXPOSED, KEY_FILE_INVALID or CA_EXPIRED.
        ResourceExhausted: DISK_FULL.
    """
    files = KeyPairFiles(directory / "server.crt", directory / "server.key")
    wanted = general_names(names)
    return _ensure(ca, files, wanted, clock, lambda key: ca.sign_server(key, names, days=days))


def ensure_client_certificate(
    ca: CertificateAuthority, directory: Path, name: str, *, clock: Clock, days: int = 90
) -> KeyPairFiles:
    """Make sure that `directory` holds a good client certificate; else as `ensure_server_certificate`."""
    files = KeyPairFiles(directory / f"{name}.crt", directory / f"{name}.key")
    wanted: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"orquanta://service/{name}")]
    return _ensure(ca, files, wanted, clock, lambda key: ca.sign_client(key, name, days=days))


def _ensure(
    ca: CertificateAuthority,
    files: KeyPairFiles,
    names: Sequence[x509.GeneralName],
    clock: Clock,
    sign: _Sign,
) -> KeyPairFiles:
    private_directory(files.key.parent)
    key = _load_or_create_key(files.key)
    pem = read_public(files.certificate)
    if pem is None or not _is_good(pem, key, names, ca, clock):
        replace_file(files.certificate, sign(key.public_key()).certificate_pem, mode=0o644)
    return files


def _load_or_create_key(path: Path) -> ec.EllipticCurvePrivateKey:
    pem = read_private(path)
    if pem is None:
        fresh = ec.generate_private_key(ec.SECP256R1())
        pem = create_private(
            path,
            fresh.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PreconditionFailed(
            f"{path} does not hold an elliptic-curve private key: delete it to have a fresh one made",
            reason="KEY_FILE_INVALID",
        )
    return key


def _is_good(
    pem: bytes,
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    ca: CertificateAuthority,
    clock: Clock,
) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        certificate.verify_directly_issued_by(ca.certificate)
        present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001 - whatever is wrong with the old certificate, a fresh one is the remedy
        return False
    now = clock.now()
    return (
        certificate.public_key() == key.public_key()
        and set(present) == set(names)
        and certificate.not_valid_before_utc <= now
        and not needs_renewal(pem, now)
    )
