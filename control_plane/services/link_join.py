"""A host becomes a node: a one-time token and a signing request for a certificate, in one transaction."""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from control_plane.clock import Clock
from control_plane.errors import (
    AlreadyExists,
    InvalidArgument,
    OrQuantaError,
    PermissionDenied,
    PreconditionFailed,
    ResourceExhausted,
    Unauthenticated,
)
from control_plane.identity.ca import CertificateAuthority, IssuedCertificate
from control_plane.identity.credentials import JOIN_TOKEN_START, JoinToken, parse_join_token, secret_matches
from control_plane.model.ids import NODE, NodeId, derived_id
from control_plane.model.node import JoinTokenRecord, Node, NodeState
from control_plane.services.link_wire import clean, read_time
from control_plane.services.status import RETRY_AFTER_SECONDS
from control_plane.services.throttle import peer_address
from control_plane.services.validate.fields import Fields
from control_plane.store import audit, nodes, tokens
from control_plane.store.database import Store, Tx
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

CLOCK_OFF_MAX: Final = timedelta(minutes=5)

_NAME: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ID_LIKE: Final = re.compile("n-[0-9a-z]{12}")
_FAILURES_MAX: Final = 20
_FAILURES_SECONDS: Final = 60.0
_PEERS_MAX: Final = 4096
_WIRE_TOKEN_FIELDS: Final = 3


@dataclass(frozen=True, slots=True)
class _Joined:
    """What the transaction decided."""

    node: Node
    certificate: IssuedCertificate


@dataclass(frozen=True, slots=True)
class _Refused:
    """A refusal whose record is to be kept, so it is returned, not raised, inside the transaction."""

    error: OrQuantaError


@dataclass(frozen=True, slots=True)
class _Asked:
    """A join request after its form was checked."""

    token: JoinToken
    request_pem: bytes
    key_fingerprint: str
    name: str
    labels: dict[str, str]
    agent_version: str


class Joining:
    """Lets hosts in. `link_servers` gives the addresses of the daemons' port in order of preference."""

    def __init__(
        self,
        store: Store,
        ca: CertificateAuthority,
        *,
        clock: Clock,
        certificate_lifetime: timedelta,
        link_servers: Callable[[], Sequence[str]],
    ) -> None:
        self._store = store
        self._ca = ca
        self._clock = clock
        self._lifetime = certificate_lifetime
        self._link_servers = link_servers
        self._failures = FailureLimit(clock)

    async def join(self, request: node_link_pb2.JoinRequest, peer: str) -> node_link_pb2.JoinResponse:
        """Make the host a node, or return the node that the same token and key made before.

        Raises InvalidArgument, Unauthenticated, PermissionDenied (JOIN_TOKEN_USED, JOIN_TOKEN_EXPIRED,
        JOIN_TOKEN_REVOKED, NODE_REVOKED), AlreadyExists (NODE_NAME_TAKEN), PreconditionFailed (HOST_CLOCK_OFF),
        ResourceExhausted (JOIN_THROTTLED), Unavailable.
        """
        self._failures.check(peer)
        try:
            asked = self._checked(request)
            outcome = await self._store.write(lambda tx: self._join(tx, asked))
            if isinstance(outcome, _Refused):
                raise outcome.error
        except (Unauthenticated, PermissionDenied) as error:
            self._failures.count(peer)
            log.warning("join.refused", peer=peer_address(peer), reason=error.reason)
            raise
        log.info("node.joined", node_id=outcome.node.id, name=outcome.node.name, peer=peer_address(peer))
        return node_link_pb2.JoinResponse(
            node_id=outcome.node.id,
            certificate=outcome.certificate.certificate_pem,
            ca_certificate=self._ca.trust_pem,
            link_servers=self._link_servers(),
        )

    def _checked(self, request: node_link_pb2.JoinRequest) -> _Asked:
        token = self._token(request.token)
        fields = Fields()
        labels = fields.labels("labels", request.labels)
        fields.check()
        if not _NAME.fullmatch(request.node_name) or _ID_LIKE.fullmatch(request.node_name):
            raise InvalidArgument(
                f"{request.node_name[:63]!a} cannot be a node's name: use 1 to 63 letters, digits, '-', '_' and '.', "
                "beginning with a letter or digit, and not of the form of a node id; give one with --name",
                reason="NODE_NAME_INVALID",
                metadata={"field": "node_name"},
            )
        self._check_clock(request)
        return _Asked(
            token=token,
            request_pem=request.certificate_signing_request,
            key_fingerprint=_key_fingerprint(request.certificate_signing_request),
            name=request.node_name,
            labels=labels,
            agent_version=clean(request.agent_version),
        )

    def _token(self, text: str) -> JoinToken:
        """The host keeps the token's last field, the CA certificate, for itself."""
        if text.startswith(JOIN_TOKEN_START) and text.count("_") == _WIRE_TOKEN_FIELDS - 1:
            own = base64.urlsafe_b64encode(self._ca.root_der).decode().rstrip("=")
            return parse_join_token(f"{text}_{own}")
        return parse_join_token(text)

    def _check_clock(self, request: node_link_pb2.JoinRequest) -> None:
        host_time = read_time(request.host_time) if request.HasField("host_time") else None
        if host_time is None:
            raise InvalidArgument(
                "host_time is missing: send the host's wall clock", reason="HOST_TIME_MISSING",
                metadata={"field": "host_time"},
            )  # fmt: skip
        off = host_time - self._clock.now()
        if abs(off) > CLOCK_OFF_MAX:
            direction = "ahead of" if off > timedelta() else "behind"
            raise PreconditionFailed(
                f"the host's clock is {_duration(abs(off))} {direction} the control plane's, which reads "
                f"{self._clock.now():%Y-%m-%d %H:%M:%S} UTC: synchronise it (`timedatectl set-ntp true`, or "
                "`chronyc makestep`), then run the same command again; the token was not used",
                reason="HOST_CLOCK_OFF",
                metadata={"off_seconds": f"{off.total_seconds():.1f}"},
            )

    def _join(self, tx: Tx, asked: _Asked) -> _Joined | _Refused:
        found = tokens.get(tx, asked.token.token_id)
        if not secret_matches(asked.token.secret, None if found is None else found[1]) or found is None:
            raise Unauthenticated(
                "this join token is not one of this control plane; create one with `orquanta node token create`",
                reason="JOIN_TOKEN_INVALID",
            )
        record = found[0]
        node_id = derived_id(NODE, "join", record.id)
        if record.revoked_at is not None:
            return _refuse(tx, record, "JOIN_TOKEN_REVOKED", "this join token was revoked")
        if tx.now >= record.expires_at:
            return _refuse(
                tx,
                record,
                "JOIN_TOKEN_EXPIRED",
                f"this join token expired at {record.expires_at:%Y-%m-%d %H:%M:%S} UTC",
            )
        if record.used_at is not None:
            return self._join_again(tx, record, asked, node_id)
        self._check_name(tx, asked.name)
        certificate = self._sign(asked, node_id)
        node = Node(
            id=node_id,
            name=asked.name,
            state=NodeState.JOINING,
            status_reason="has joined; its daemon has not connected yet",
            cordoned=False,
            connected=False,
            inventory=None,
            labels={**asked.labels, **record.labels},
            certificate_serial=certificate.serial,
            certificate_expires_at=certificate.not_after,
            last_seen_at=None,
            created_at=tx.now,
            version=1,
        )
        nodes.insert(tx, node)
        tokens.mark_used(tx, record.id, node_id, asked.key_fingerprint)
        _audit(tx, "node.join", "joined", f"{asked.name} joined with token {record.id} of {record.created_by}", node_id)
        return _Joined(node, certificate)

    def _join_again(self, tx: Tx, record: JoinTokenRecord, asked: _Asked, node_id: NodeId) -> _Joined | _Refused:
        """The answer to the first call may have been lost; only the host that made it has its key."""
        if tokens.used_key(tx, record.id) != asked.key_fingerprint:
            return _refuse(tx, record, "JOIN_TOKEN_USED", "this join token was already used by another host")
        node = nodes.get(tx, node_id)
        if node is None or node.state is NodeState.REVOKED:
            return _refuse(tx, record, "NODE_REVOKED", "the node that joined with this token was revoked")
        certificate = self._sign(asked, node_id)
        nodes.renew_certificate(tx, node_id, certificate.serial, certificate.not_after)
        _audit(tx, "node.join", "repeated", f"{node.name} joined again with the same token and key", node_id)
        return _Joined(node, certificate)

    def _check_name(self, tx: Tx, name: str) -> None:
        holder = nodes.by_name(tx, name)
        if holder is not None:
            raise AlreadyExists(
                f"the name {name} belongs to node {holder.id} ({holder.state.value}): give another one with --name, or "
                f"revoke that node with `orquanta node revoke {holder.id}`; the token was not used",
                reason="NODE_NAME_TAKEN",
                metadata={"node_id": holder.id},
            )

    def _sign(self, asked: _Asked, node_id: NodeId) -> IssuedCertificate:
        return self._ca.sign_node_csr(asked.request_pem, node_id, lifetime=self._lifetime)


class FailureLimit:
    """Refuses an address that keeps presenting bad tokens: 20 a minute at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def check(self, peer: str) -> None:
        """Raises ResourceExhausted (JOIN_THROTTLED)."""
        began, failures = self._windows.get(peer_address(peer), (0.0, 0))
        left = began + _FAILURES_SECONDS - self._clock.monotonic()
        if failures >= _FAILURES_MAX and left > 0:
            raise ResourceExhausted(
                f"too many refused joins from this address; try again in {left:.0f} seconds",
                reason="JOIN_THROTTLED",
                metadata={RETRY_AFTER_SECONDS: f"{left:.3f}"},
            )

    def count(self, peer: str) -> None:
        """Count a refusal."""
        address, now = peer_address(peer), self._clock.monotonic()
        began, failures = self._windows.pop(address, (now, 0))
        if now - began >= _FAILURES_SECONDS:
            began, failures = now, 0
        while len(self._windows) >= _PEERS_MAX:
            del self._windows[next(iter(self._windows))]
        self._windows[address] = (began, failures + 1)


def _refuse(tx: Tx, record: JoinTokenRecord, reason: str, what: str) -> _Refused:
    _audit(tx, "node.join", "refused", f"{what} (token {record.id} of {record.created_by})", record.used_by_node_id)
    return _Refused(PermissionDenied(f"{what}; create another one with `orquanta node token create`", reason=reason))


def _audit(tx: Tx, action: str, outcome: str, reasoning: str, node_id: NodeId | None) -> None:
    audit.append(tx, agent_name="node-link", action=action, reasoning=reasoning, outcome=outcome, node_id=node_id or "")


def _key_fingerprint(request_pem: bytes) -> str:
    """SHA-256 of the public key; the request itself is checked where it is signed."""
    try:
        key = x509.load_pem_x509_csr(request_pem).public_key()
    except Exception as error:
        raise InvalidArgument(
            "the certificate signing request cannot be read: send a PEM request with a P-256 key",
            reason="CSR_INVALID",
            metadata={"field": "certificate_signing_request"},
        ) from error
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def _duration(off: timedelta) -> str:
    minutes, seconds = divmod(round(off.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
