"""The servers' TLS: certificates read again after renewal, without a restart."""

from pathlib import Path

import grpc

from control_plane.clock import Clock
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.key_pairs import KeyPairFiles, ensure_client_certificate, ensure_server_certificate
from control_plane.settings import Settings

BROKER_CLIENT = "control-plane"


class Certificates:
    """The control plane's own certificates: one for its servers, one for its own connection to the broker."""

    def __init__(self, settings: Settings, names: tuple[str, ...], *, clock: Clock) -> None:
        passphrase = settings.ca_key_passphrase.get_secret_value().encode() if settings.ca_key_passphrase else None
        directory = settings.state_dir / "identity"  # its own certificates; the CA may be shared
        if settings.ca_certificate_file is not None and settings.ca_key_file is not None:
            self.ca = CertificateAuthority.load(
                settings.ca_certificate_file, settings.ca_key_file, clock=clock, passphrase=passphrase
            )
        else:
            self.ca = CertificateAuthority.load_or_create(settings.identity / "ca", clock=clock, passphrase=passphrase)
        self._directory = directory
        self._names = names
        self._days = settings.server_certificate_days
        self._clock = clock
        self.trust_file = directory / "trust.crt"
        self.server, self.client = self._ensure()

    def renew(self) -> bool:
        """Renew what is near its end, and tell whether anything was."""
        before = (self.server.certificate.read_bytes(), self.client.certificate.read_bytes())
        self._ensure()
        return before != (self.server.certificate.read_bytes(), self.client.certificate.read_bytes())

    def _ensure(self) -> tuple[KeyPairFiles, KeyPairFiles]:
        server = ensure_server_certificate(self.ca, self._directory, self._names, clock=self._clock, days=self._days)
        client = ensure_client_certificate(self.ca, self._directory, BROKER_CLIENT, clock=self._clock, days=self._days)
        if not self.trust_file.exists() or self.trust_file.read_bytes() != self.ca.trust_pem:
            self.trust_file.write_bytes(self.ca.trust_pem)
        return server, client

    def people_credentials(self) -> grpc.ServerCredentials:
        """Return server TLS: callers prove themselves with a token."""
        return _reloading(self.server, None)

    def nodes_credentials(self) -> grpc.ServerCredentials:
        """Return mutual TLS: callers prove themselves with a certificate of our CA."""
        return _reloading(self.server, self.trust_file)


def _reloading(files: KeyPairFiles, trust_file: Path | None) -> grpc.ServerCredentials:
    roots = None if trust_file is None else trust_file.read_bytes()

    def read() -> tuple[bytes, bytes]:
        return files.key.read_bytes(), files.certificate.read_bytes()

    def configuration(pair: tuple[bytes, bytes]) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)

    in_use = read()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return the pair if it is another one than before: gRPC asks for each new connection.

        Never the same one again. gRPC would make a TLS context of its own for each connection, of 20 KB, and free the
        one before while another thread begins a handshake with it: some hundred hosts that connect at once end the
        process by a segmentation fault (gRPC 1.78).
        """
        nonlocal in_use
        pair = read()
        if pair == in_use:
            return None
        in_use = pair
        return configuration(pair)

    return grpc.dynamic_ssl_server_credentials(
        configuration(in_use),
        fetch,  # type: ignore[arg-type] # gRPC takes None for "as before"; its types do not say so
        require_client_authentication=roots is not None,
    )
