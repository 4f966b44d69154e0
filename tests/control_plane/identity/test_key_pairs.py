import ssl
import stat
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.certificates import (
    needs_renewal,
)
from control_plane.identity.key_pairs import ensure_client_certificate, ensure_server_certificate
from control_plane.model.ids import NODE, new_id
from tests.control_plane.identity.conftest import ManualClock, reason_of
from tests.control_plane.identity.requests import HOUR, PEM, key_pem, parse, request
from tests.control_plane.identity.tls import client_context, handshake, server_context


def bring_your_own(directory: Path, clock: ManualClock, *, ca: bool = True) -> tuple[Path, Path]:
    """A root and an intermediate as a company has them; returns chain and key of the intermediate."""
    root_key, key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    root_name, name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Root", "Issuing"))

    def build(
        subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, is_ca: bool
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(clock.now() - timedelta(days=1))
            .not_valid_after(clock.now() + timedelta(days=20))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .sign(root_key, hashes.SHA256())
        )

    root = build(root_name, root_name, root_key.public_key(), True)
    issuing = build(name, root_name, key.public_key(), ca)
    (directory / "chain.pem").write_bytes(issuing.public_bytes(PEM) + root.public_bytes(PEM))
    (directory / "ca.key").write_bytes(key_pem(key))
    (directory / "ca.key").chmod(0o600)
    return directory / "chain.pem", directory / "ca.key"


def test_a_ca_of_your_own_signs_with_its_intermediate_and_its_root_is_what_to_trust(
    tmp_path: Path, clock: ManualClock
) -> None:
    clock.time = clock.time.now(clock.time.tzinfo)
    ca = CertificateAuthority.load(*bring_your_own(tmp_path, clock), clock=clock)
    server = ca.issue_server(["server.example"], days=365)
    key = ec.generate_private_key(ec.SECP256R1())
    node = ca.sign_node_csr(request(key), new_id(NODE), lifetime=HOUR)

    root = ssl.DER_cert_to_PEM_cert(ca.root_der).encode()
    assert len(x509.load_pem_x509_certificates(node.certificate_pem)) == 2
    handshake(
        server_context(server.key_pem + server.certificate.certificate_pem, root, tmp_path),
        client_context(key_pem(key) + node.certificate_pem, root, tmp_path),
        "server.example",
    )
    assert server.certificate.not_after == ca.certificate.not_valid_after_utc


def test_certificate_that_is_not_one_of_a_ca_cannot_sign(tmp_path: Path, clock: ManualClock) -> None:
    files = bring_your_own(tmp_path, clock, ca=False)
    assert reason_of(lambda: CertificateAuthority.load(*files, clock=clock)) == "CA_INVALID"


def test_chain_without_its_root_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    chain, key = bring_your_own(tmp_path, clock)
    chain.write_bytes(x509.load_pem_x509_certificates(chain.read_bytes())[0].public_bytes(PEM))
    assert reason_of(lambda: CertificateAuthority.load(chain, key, clock=clock)) == "CA_INVALID"


def test_missing_files_of_a_ca_of_your_own_are_named(tmp_path: Path, clock: ManualClock) -> None:
    chain, key = bring_your_own(tmp_path, clock)
    missing = tmp_path / "nothing"
    assert reason_of(lambda: CertificateAuthority.load(missing, key, clock=clock)) == "CA_INVALID"
    assert reason_of(lambda: CertificateAuthority.load(chain, missing, clock=clock)) == "CA_KEY_MISSING"


def test_server_certificate_stays_until_less_than_a_third_of_its_life_is_left(
    tmp_path: Path, ca: CertificateAuthority, clock: ManualClock
) -> None:
    def ensure() -> bytes:
        return ensure_server_certificate(ca, tmp_path / "tls", ["localhost"], clock=clock).certificate.read_bytes()

    first = ensure()
    clock.advance(days=59)
    assert ensure() == first
    assert not needs_renewal(first, clock.now())
    clock.advance(days=2)
    assert needs_renewal(first, clock.now())
    renewed = ensure()
    assert renewed != first
    assert parse(renewed).public_key() == parse(first).public_key()


def test_server_certificate_is_replaced_when_names_or_ca_change_or_it_is_damaged(
    tmp_path: Path, ca: CertificateAuthority, clock: ManualClock
) -> None:
    other = CertificateAuthority.load_or_create(tmp_path / "other", clock=clock)
    files = ensure_server_certificate(ca, tmp_path / "tls", ["a.example"], clock=clock)
    seen = [files.certificate.read_bytes()]
    for authority, names in ((ca, ["a.example", "10.0.0.1"]), (other, ["a.example", "10.0.0.1"])):
        assert ensure_server_certificate(authority, tmp_path / "tls", names, clock=clock) == files
        seen.append(files.certificate.read_bytes())
    files.certificate.write_text("damaged")
    ensure_server_certificate(other, tmp_path / "tls", ["10.0.0.1", "a.example"], clock=clock)
    seen.append(files.certificate.read_bytes())

    assert len(set(seen)) == 4
    parse(seen[-1]).verify_directly_issued_by(other.certificate)
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600


def test_damaged_key_of_a_server_certificate_is_named(
    tmp_path: Path, ca: CertificateAuthority, clock: ManualClock
) -> None:
    files = ensure_client_certificate(ca, tmp_path / "tls", "control-plane", clock=clock)
    files.key.write_text("damaged")
    assert (
        reason_of(lambda: ensure_client_certificate(ca, tmp_path / "tls", "control-plane", clock=clock))
        == "KEY_FILE_INVALID"
    )
