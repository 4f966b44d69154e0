import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from control_plane.errors import InvalidArgument
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.certificates import (
    fingerprint_sha256,
    node_id_from_san,
    node_principal_from_pem,
    node_uri,
)
from control_plane.model.ids import NODE, NodeId, new_id
from tests.control_plane.identity.conftest import ManualClock, reason_of
from tests.control_plane.identity.requests import HOUR, PEM, Key, key_pem, parse, request


def test_ca_is_the_same_when_opened_again_and_its_files_are_private(tmp_path: Path, clock: ManualClock) -> None:
    first = CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
    again = CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)

    assert first.fingerprint_sha256 == again.fingerprint_sha256 == fingerprint_sha256(first.root_der)
    assert stat.S_IMODE((tmp_path / "ca" / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    assert sorted(file.name for file in (tmp_path / "ca").iterdir()) == ["ca.crt", "ca.key"]


def test_two_first_starts_at_once_make_one_ca(tmp_path: Path, clock: ManualClock) -> None:
    def start(_: int) -> bytes:
        return CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock).certificate.public_bytes(
            serialization.Encoding.DER
        )

    with ThreadPoolExecutor(8) as pool:
        keys = {
            x509.load_der_x509_certificate(der)
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            for der in pool.map(start, range(8))
        }
    assert len(keys) == 1


def test_interrupted_first_start_is_finished_by_the_next(tmp_path: Path, clock: ManualClock) -> None:
    CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
    (tmp_path / "ca" / "ca.crt").unlink()
    assert CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock).trust_pem


def test_ca_certificate_signs_certificates_and_nothing_else(ca: CertificateAuthority) -> None:
    constraints = ca.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = ca.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert usage.key_cert_sign
    assert not usage.digital_signature


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_key_that_others_may_read_is_refused(tmp_path: Path, clock: ManualClock, mode: int) -> None:
    CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
    (tmp_path / "ca" / "ca.key").chmod(mode)
    assert reason_of(lambda: CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)) == "KEY_FILE_EXPOSED"


def test_passphrase_protects_the_key(tmp_path: Path, clock: ManualClock) -> None:
    def open_with(passphrase: bytes | None) -> CertificateAuthority:
        return CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock, passphrase=passphrase)

    made = open_with(b"correct")
    assert open_with(b"correct").fingerprint_sha256 == made.fingerprint_sha256
    assert b"ENCRYPTED" in (tmp_path / "ca" / "ca.key").read_bytes()
    assert reason_of(lambda: open_with(None)) == "CA_PASSPHRASE"
    assert reason_of(lambda: open_with(b"wrong")) == "CA_PASSPHRASE"


def test_passphrase_for_a_key_that_has_none_is_an_error(tmp_path: Path, clock: ManualClock) -> None:
    CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
    reason = reason_of(lambda: CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock, passphrase=b"x"))
    assert reason == "CA_PASSPHRASE"


def remove_key(directory: Path) -> None:
    (directory / "ca.key").unlink()


def garbage_key(directory: Path) -> None:
    (directory / "ca.key").write_text("garbage")


def ed25519_key(directory: Path) -> None:
    (directory / "ca.key").write_bytes(key_pem(ed25519.Ed25519PrivateKey.generate()))


def other_key(directory: Path) -> None:
    (directory / "ca.key").write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))


def garbage_certificate(directory: Path) -> None:
    (directory / "ca.crt").write_text("garbage")


def empty_certificate(directory: Path) -> None:
    (directory / "ca.crt").write_text("")


def huge_key(directory: Path) -> None:
    (directory / "ca.key").write_bytes(bytes(2 << 20))


def key_is_a_directory(directory: Path) -> None:
    (directory / "ca.key").unlink()
    (directory / "ca.key").mkdir()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_key, "CA_KEY_MISSING"),
        (garbage_key, "CA_INVALID"),
        (ed25519_key, "CA_INVALID"),
        (other_key, "CA_INVALID"),
        (garbage_certificate, "CA_INVALID"),
        (empty_certificate, "CA_INVALID"),
        (huge_key, "KEY_FILE_INVALID"),
        (key_is_a_directory, "PATH_UNUSABLE"),
    ],
)
def test_damaged_ca_is_refused_and_left_as_it_is(
    tmp_path: Path, clock: ManualClock, damage: Callable[[Path], None], reason: str
) -> None:
    CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
    damage(tmp_path / "ca")
    before = sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "ca").iterdir())

    assert reason_of(lambda: CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)) == reason
    assert sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "ca").iterdir()) == before


@pytest.mark.parametrize("days", [-30, 3660])
def test_ca_outside_its_dates_is_refused(tmp_path: Path, clock: ManualClock, days: int) -> None:
    CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
    clock.advance(days=days)
    assert reason_of(lambda: CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)) == "CA_EXPIRED"


def test_ca_that_expires_while_open_signs_no_more(ca: CertificateAuthority, clock: ManualClock) -> None:
    clock.advance(days=3653)
    assert reason_of(lambda: ca.sign_node_csr(request(), new_id(NODE), lifetime=HOUR)) == "CA_EXPIRED"


def test_full_disk_is_named(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert reason_of(lambda: CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)) == "DISK_FULL"
    monkeypatch.undo()
    assert list((tmp_path / "ca").iterdir()) == []


def test_node_certificate_names_the_node_that_it_is_made_for(ca: CertificateAuthority, clock: ManualClock) -> None:
    node_id = new_id(NODE)
    issued = ca.sign_node_csr(request(), node_id, lifetime=HOUR)
    certificate = parse(issued.certificate_pem)

    assert certificate.subject.rfc4514_string() == f"CN={node_id}"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"orquanta://node/{node_id}")]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc == clock.now() - timedelta(hours=24) == issued.not_before
    assert certificate.not_valid_after_utc == clock.now() + HOUR == issued.not_after
    assert issued.serial == f"{certificate.serial_number:x}"
    certificate.verify_directly_issued_by(ca.certificate)
    assert node_principal_from_pem(issued.certificate_pem).node_id == node_id
    assert node_principal_from_pem(issued.certificate_pem.decode()).serial == issued.serial


def test_serial_numbers_are_long_and_random(ca: CertificateAuthority) -> None:
    csr = request()
    numbers = {int(ca.sign_node_csr(csr, new_id(NODE), lifetime=HOUR).serial, 16) for _ in range(50)}
    assert len(numbers) == 50
    assert max(numbers) > 1 << 150


def test_request_for_another_nodes_name_gets_its_own(ca: CertificateAuthority) -> None:
    victim, own = new_id(NODE), new_id(NODE)
    csr = request(
        None,
        x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier(node_uri(victim)), x509.DNSName("control.example")]
        ),
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        name=victim,
    )
    pem = ca.sign_node_csr(csr, own, lifetime=HOUR).certificate_pem

    assert node_principal_from_pem(pem).node_id == own
    assert victim.encode() not in parse(pem).public_bytes(serialization.Encoding.DER)
    assert b"control.example" not in parse(pem).public_bytes(serialization.Encoding.DER)
    assert not parse(pem).extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), id="P-256"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), id="RSA-2048"),
    ],
)
def test_good_keys_are_signed(ca: CertificateAuthority, key: Callable[[], Key]) -> None:
    made = key()
    issued = ca.sign_node_csr(request(made), new_id(NODE), lifetime=HOUR)
    assert parse(issued.certificate_pem).public_key() == made.public_key()


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), id="RSA-1024"),
        pytest.param(lambda: rsa.generate_private_key(65537, 4104), id="RSA-4104"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP192R1()), id="P-192"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
        pytest.param(ed25519.Ed25519PrivateKey.generate, id="Ed25519"),
        pytest.param(lambda: dsa.generate_private_key(2048), id="DSA"),
    ],
)
def test_weak_and_unknown_keys_are_refused(ca: CertificateAuthority, key: Callable[[], Key]) -> None:
    csr = request(key())
    assert reason_of(lambda: ca.sign_node_csr(csr, new_id(NODE), lifetime=HOUR)) == "CSR_INVALID"


def tampered() -> bytes:
    der = bytearray(x509.load_pem_x509_csr(request(name="a" * 20)).public_bytes(serialization.Encoding.DER))
    der[der.index(b"aaaa")] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(PEM)


@pytest.mark.parametrize(
    "csr",
    [
        b"",
        b"garbage",
        b"\xff" * 100,
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        b"x" * 20_000,
        tampered(),
    ],
)
def test_request_that_is_none_is_refused(ca: CertificateAuthority, csr: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ca.sign_node_csr(csr, new_id(NODE), lifetime=HOUR)
    assert caught.value.reason == "CSR_INVALID"


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["https://example.com"],
        ["orquanta://node/"],
        ["orquanta://node/*"],
        ["orquanta://node/n-0123456789ab/"],
        ["orquanta://node/n-0123456789ab?x"],
        ["ORQUANTA://node/n-0123456789ab"],
        ["orquanta://NODE/n-0123456789ab"],
        ["orquanta://node/j-0123456789ab"],
        ["orquanta://service/control-plane"],
        ["orquanta://node/n-0123456789ab", "orquanta://node/n-0123456789ac"],
        ["orquanta://node/n-0123456789ab", "orquanta://service/control-plane"],
    ],
)
def test_names_that_do_not_name_one_node_are_refused(uris: list[str]) -> None:
    assert reason_of(lambda: node_id_from_san(uris)) == "NODE_CERTIFICATE_INVALID"


def test_names_of_other_kinds_beside_the_node_are_passed_over() -> None:
    uris = ["https://example.com", "orquanta://node/n-0123456789ab"]
    assert node_id_from_san(uris) == NodeId("n-0123456789ab")


@pytest.mark.parametrize("pem", [b"", "garbage", b"\xff", "é", b"x" * 100_000])
def test_text_that_is_no_certificate_is_refused(pem: bytes | str) -> None:
    assert reason_of(lambda: node_principal_from_pem(pem)) == "NODE_CERTIFICATE_INVALID"


def test_server_and_service_certificates_name_no_node(ca: CertificateAuthority) -> None:
    for pair in (ca.issue_server(["localhost"]), ca.issue_client("control-plane")):
        assert (
            reason_of(lambda pem=pair.certificate.certificate_pem: node_principal_from_pem(pem))  # type: ignore[misc] # bound now
            == "NODE_CERTIFICATE_INVALID"
        )


@pytest.mark.parametrize(
    "names",
    [[], ["a b"], [""], ["-a.example"], ["a..b"], ["é.example"], ["fe80::1%eth0"], ["*"], ["a" * 300], ["x"] * 65],
)
def test_server_names_that_are_none_are_refused(ca: CertificateAuthority, names: list[str]) -> None:
    assert reason_of(lambda: ca.issue_server(names)) == "SERVER_NAME_INVALID"
