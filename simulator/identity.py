"""Who the virtual hosts are: keys of their own, certificates for join tokens, kept in a file so that they come back."""

import asyncio
import json
import os
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orquanta.v1 import node_link_pb2, node_link_pb2_grpc, node_pb2, node_pb2_grpc
from simulator.stamps import stamp

JOIN_SECONDS: Final = 60.0
CHANNEL_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.tsi.max_frame_size", 1024),  # each connection's buffer for what it sends; by itself 16 KB
    # 5 KB of each channel:
    ("grpc.enable_channelz", 0),
    ("grpc.service_config_disable_resolution", 1),
)
_TOKEN_PARTS: Final = 4


class SimulatorError(Exception):
    """What a person has to put right before the simulator can run."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One host's. Keys and certificates are PEM."""

    name: str
    node_id: str
    key: str
    certificate: str
    ca: str
    link_servers: tuple[str, ...]

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """What a gRPC channel of this host is made with."""
        return grpc.ssl_channel_credentials(self.ca.encode(), self.key.encode(), self.certificate.encode())


@dataclass(frozen=True, slots=True)
class Token:
    """A join token as `orquanta node token create` prints it: what is sent, and the authority to trust."""

    sent: str
    ca: bytes

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Take a token apart. Raises SimulatorError."""
        parts = text.strip().split("_", _TOKEN_PARTS - 1)
        try:
            prefix, _, _, certificate = parts
            der = urlsafe_b64decode(certificate + "=" * (-len(certificate) % 4))
            if prefix == "oqj":
                return cls("_".join(parts[:3]), ssl.DER_cert_to_PEM_cert(der).encode())
        except ValueError:
            pass
        raise SimulatorError(
            "a join token looks like oqj_<id>_<secret>_<certificate>: copy the whole line that "
            "`orquanta node token create` prints"
        )


async def make_tokens(server: str, api_key: str, ca: bytes, count: int) -> list[Token]:
    """Have the control plane make so many join tokens, as an operator would. Raises SimulatorError."""
    credentials = grpc.ssl_channel_credentials(ca)
    async with grpc.aio.secure_channel(server, credentials, options=CHANNEL_OPTIONS) as channel:
        stub = node_pb2_grpc.NodeServiceStub(channel)
        slots = asyncio.Semaphore(32)

        async def make() -> Token:
            async with slots:
                made = await stub.CreateJoinToken(
                    node_pb2.CreateJoinTokenRequest(),
                    timeout=JOIN_SECONDS,
                    metadata=(("authorization", f"Bearer {api_key}"),),
                )
                return Token.parse(made.secret)

        try:
            return list(await asyncio.gather(*(make() for _ in range(count))))
        except grpc.aio.AioRpcError as error:
            refused = error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            help_ = "The API key must be that of an operator: `orquanta login`, then `orquanta key create`"
            raise SimulatorError(
                f"{server} makes no join tokens: {error.code().name}: {error.details()}. "
                f"{help_ if refused else 'Look at --server and --ca-file, and whether it runs'}"
            ) from None


class Joiner:
    """Makes nodes of names, over one channel."""

    def __init__(self, server: str, ca: bytes) -> None:
        self._server = server
        self._channel = grpc.aio.secure_channel(server, grpc.ssl_channel_credentials(ca), options=CHANNEL_OPTIONS)
        self._stub = node_link_pb2_grpc.NodeLinkServiceStub(self._channel)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def join(self, token: Token, name: str, labels: dict[str, str], now: float) -> Identity:
        """Exchange a token for an identity. Raises SimulatorError."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = node_link_pb2.JoinRequest(
            token=token.sent,
            certificate_signing_request=signing_request(key),
            node_name=name,
            host_time=stamp(now),
            agent_version="sim",
            labels=labels,
        )
        try:
            answer = await self._stub.Join(request, timeout=JOIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise SimulatorError(f"{name} cannot join {self._server}: {error.code().name}: {error.details()}") from None
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Identity(
            name=name,
            node_id=answer.node_id,
            key=pem.decode(),
            certificate=answer.certificate.decode(),
            ca=answer.ca_certificate.decode(),
            link_servers=tuple(answer.link_servers),
        )


def signing_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a certificate signing request for a key."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "orquanta-sim")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def renewal_request(identity: Identity) -> bytes:
    """Return a certificate signing request for the key that a host has."""
    key = serialization.load_pem_private_key(identity.key.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SimulatorError(f"the key of {identity.name} is not an elliptic-curve key")
    return signing_request(key)


def renewal_due_at(identity: Identity) -> float:
    """Return when a fresh certificate is to be asked for: at two thirds of the life of the one in use."""
    leaf = x509.load_pem_x509_certificate(identity.certificate.encode())
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return begins + (ends - begins) * 2 / 3


def load(file: Path) -> dict[str, Identity]:
    """Return the identities of an earlier run by name; none without the file. Raises SimulatorError."""
    if not file.exists():
        return {}
    found = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            said = json.loads(line)
            one = Identity(**{**said, "link_servers": tuple(said["link_servers"])})
        except (ValueError, TypeError, KeyError) as error:
            raise SimulatorError(
                f"line {number} of {file} is no identity ({error}): remove the file, and revoke its nodes with "
                "`orquanta node revoke`"
            ) from None
        found[one.name] = one
    return found


def keep(file: Path, identities: Iterable[Identity]) -> None:
    """Add identities to the file, for its owner's eyes only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for one in identities:
            os.write(descriptor, (json.dumps(asdict(one)) + "\n").encode())  # whole: other processes add theirs
    finally:
        os.close(descriptor)
