"""The gRPC channel: TLS, keepalive, message sizes, reconnects."""

from os import PathLike
from pathlib import Path

import grpc

from orquanta import __version__

# Requests are small: a goal has at most 20,000 characters. Answers may list 500 jobs with their attempts.
_MAX_SEND_BYTES = 16 * 1024 * 1024
_MAX_RECEIVE_BYTES = 64 * 1024 * 1024

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.primary_user_agent", f"orquanta-python/{__version__}"),
    ("grpc.max_send_message_length", _MAX_SEND_BYTES),
    ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
    # A watch finds out within 40 s that its server is gone, even if nothing closed the connection.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The retries are ours, with request ids and one budget; gRPC would multiply them.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Two clients in one process do not share a broken connection's back-off.
    ("grpc.use_local_subchannel_pool", 1),
)


def open_channel(
    server: str,
    *,
    ca_certificate: bytes | str | PathLike[str] | None,
    insecure: bool,
    tls_server_name: str,
) -> grpc.aio.Channel:
    """A channel to `host:port`. Must be called while an event loop runs.

    `ca_certificate` is PEM bytes or the path of a PEM file; None means the authorities that gRPC ships.
    Raises ValueError for contradictory arguments and OSError if the file cannot be read.
    """
    if insecure:
        if ca_certificate is not None:
            raise ValueError("insecure=True sends everything in clear; leave ca_certificate out, or insecure")
        return grpc.aio.insecure_channel(server, options=_OPTIONS)
    options = _OPTIONS
    if tls_server_name:
        options += (("grpc.ssl_target_name_override", tls_server_name),)
    credentials = grpc.ssl_channel_credentials(root_certificates=read_certificate(ca_certificate))
    return grpc.aio.secure_channel(server, credentials, options=options)


def read_certificate(certificate: bytes | str | PathLike[str] | None) -> bytes | None:
    """PEM bytes as they are, or the content of the file; None stays None. Raises OSError, ValueError."""
    if certificate is None:
        return None
    pem = certificate if isinstance(certificate, bytes) else Path(certificate).read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError("the CA certificate is not PEM; it must contain '-----BEGIN CERTIFICATE-----'")
    return pem
