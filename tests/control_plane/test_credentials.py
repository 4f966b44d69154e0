"""The servers' TLS follows the files, and is left alone as long as they stay the same."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from control_plane import credentials
from control_plane.clock import SystemClock
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.key_pairs import ensure_server_certificate

Fetch = Callable[[], grpc.ServerCertificateConfiguration | None]


def test_a_connection_brings_a_fresh_tls_context_only_when_the_certificate_was_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One for each connection ended the process when some hundred hosts connected at once.
    fetches: list[Fetch] = []

    def remember(_first: object, fetch: Fetch, *, require_client_authentication: bool) -> None:
        assert require_client_authentication
        fetches.append(fetch)

    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", remember)
    ca = CertificateAuthority.load_or_create(tmp_path / "ca", clock=SystemClock())
    trust = tmp_path / "trust.crt"
    trust.write_bytes(ca.trust_pem)
    files = ensure_server_certificate(ca, tmp_path / "one", ("localhost",), clock=SystemClock(), days=90)
    other = ensure_server_certificate(ca, tmp_path / "two", ("localhost",), clock=SystemClock(), days=90)
    credentials._reloading(files, trust)
    (fetch,) = fetches
    assert [fetch(), fetch()] == [None, None]
    files.key.write_bytes(other.key.read_bytes())
    files.certificate.write_bytes(other.certificate.read_bytes())
    assert isinstance(fetch(), grpc.ServerCertificateConfiguration)
    assert fetch() is None
