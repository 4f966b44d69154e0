"""Trust: what the gRPC channels are made of, and why a connection failed, in words a person can act on."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Any

import grpc

from node_agent.errors import AgentError, ServerNotTrusted, ServerUnreachable, SettingsInvalid
from node_agent.link.identity import Identity

_DIAGNOSIS_SECONDS = 5.0
_CLOSE_SECONDS = 1.0
_MAX_PORT = 65_535

# The daemon finds a dead peer by missing acknowledgements (session.py), which also proves that the control
# plane behind a proxy is alive; gRPC's own pings would add traffic and prove less.
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_http_proxy", 0),  # the link is dialled as configured, not as http_proxy happens to say
    ("grpc.enable_retries", 0),  # link.py decides when to try again
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),  # a desired state of some 10,000 members
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # gRPC would ping with every message to learn how large its window should be: a tenth of an idle daemon's work. A
    # fixed one suits what the link carries: small messages, and now and then a desired state.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),  # a fresh channel is a fresh connection, with the fresh certificate
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `host:port` or `[ipv6]:port`; raises SettingsInvalid."""
        host, separator, port = text.strip().rpartition(":")
        if not separator or not host or not port.isdecimal() or not 0 < int(port) <= _MAX_PORT:
            raise SettingsInvalid(f"{text!r} is not an address: write HOST:PORT, for example gpu.example.com:50051.")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def join_channel(address: Address, ca_pem: bytes) -> grpc.aio.Channel:
    """Return a channel to the people's port that trusts one authority only."""
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_pem)
    return grpc.aio.secure_channel(str(address), credentials, options=CHANNEL_OPTIONS)


def link_channel(address: Address, identity: Identity) -> grpc.aio.Channel:
    """Return a channel to the daemons' port with the node's certificate; raises OSError."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.ca_file.read_bytes(),
        private_key=identity.key_file.read_bytes(),
        certificate_chain=identity.certificate_file.read_bytes(),
    )
    return grpc.aio.secure_channel(str(address), credentials, options=CHANNEL_OPTIONS)


def client_context(identity: Identity) -> ssl.SSLContext:
    """Return a TLS context with the node's certificate, for NATS; raises OSError."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(identity.ca_file))
    context.load_cert_chain(identity.certificate_file, identity.key_file)
    return context


def trusting(ca_pem: bytes) -> ssl.SSLContext:
    """Return a TLS context that trusts one authority only and presents nothing."""
    return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=ca_pem.decode())


async def find_fault(address: Address, context: ssl.SSLContext) -> AgentError | None:
    """Try a TLS handshake with `address`; return what is wrong, or None if the handshake works."""
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(_DIAGNOSIS_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        return ServerNotTrusted(_distrust(address, error))
    except ssl.SSLError as error:
        return ServerNotTrusted(
            f"{address} does not speak TLS as OrQuanta does ({error.reason or error}). Check the port."
        )
    except TimeoutError:
        return ServerUnreachable(
            f"{address} did not answer within {_DIAGNOSIS_SECONDS:.0f} s. Check the address and the firewall."
        )
    except OSError as error:
        return ServerUnreachable(
            f"{address} cannot be reached: {error.strerror or error}. "
            "Check the address, and that the control plane is running."
        )
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):  # leave no half-done handshake behind at the server
            await writer.wait_closed()
    return None


# OpenSSL's X509_V_ERR_* numbers.
_WRONG_TIME = (9, 10)  # not yet valid, expired
_WRONG_NAME = (62, 64)  # host name, IP address


def _distrust(address: Address, error: ssl.SSLCertVerificationError) -> str:
    """Say why the server's certificate is not accepted and what to do about it."""
    if error.verify_code in _WRONG_TIME:
        return (
            f"The certificate of {address} is not valid at this host's time ({error.verify_message}). "
            "Check this host's clock first (`timedatectl`), then the server's certificate."
        )
    if error.verify_code in _WRONG_NAME:
        return (
            f"The certificate of {address} is for another name ({error.verify_message}). "
            "Use a name that is in it, or add this one to the control plane's server names."
        )
    return (
        f"{address} is not the control plane of the trusted certificate authority ({error.verify_message}). "
        "Check the address, and that the token is from this control plane."
    )
