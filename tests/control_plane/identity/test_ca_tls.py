import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.identity.ca import CertificateAuthority
from control_plane.model.ids import NODE, new_id
from tests.control_plane.identity.conftest import ManualClock
from tests.control_plane.identity.requests import HOUR, key_pem, parse, request
from tests.control_plane.identity.tls import client_context, handshake, server_context


def pair_for_tls(tmp_path: Path, clock: ManualClock) -> tuple[bytes, bytes, bytes]:
    """Trust, server and node credentials that are valid today."""
    clock.time = clock.time.now(clock.time.tzinfo)
    ca = CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
    server = ca.issue_server(["server.example", "127.0.0.1", "::1"])
    key = ec.generate_private_key(ec.SECP256R1())
    node = ca.sign_node_csr(request(key), new_id(NODE), lifetime=HOUR)
    return ca.trust_pem, server.key_pem + server.certificate.certificate_pem, key_pem(key) + node.certificate_pem


@pytest.mark.parametrize("name", ["server.example", "127.0.0.1", "::1"])
def test_node_and_server_agree_on_tls(tmp_path: Path, clock: ManualClock, name: str) -> None:
    trust, server, node = pair_for_tls(tmp_path, clock)
    handshake(server_context(server, trust, tmp_path), client_context(node, trust, tmp_path), name)


def test_server_under_another_name_is_refused_by_its_client(tmp_path: Path, clock: ManualClock) -> None:
    trust, server, node = pair_for_tls(tmp_path, clock)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(server, trust, tmp_path), client_context(node, trust, tmp_path), "other.example")


def test_node_certificate_cannot_serve(tmp_path: Path, clock: ManualClock) -> None:
    trust, server, node = pair_for_tls(tmp_path, clock)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(node, trust, tmp_path), client_context(server, trust, tmp_path), "server.example")


def test_host_whose_clock_is_hours_behind_still_trusts_the_server(tmp_path: Path, clock: ManualClock) -> None:
    ca = CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
    certificate = parse(ca.issue_server(["localhost"]).certificate.certificate_pem)
    slow = clock.now() - timedelta(hours=23)
    assert certificate.not_valid_before_utc <= slow
    assert ca.certificate.not_valid_before_utc <= slow
