"""NATS auth callout: the broker asks here who a client is and what it may do.

A host proves itself with its client certificate, which the broker has verified against the CA. It is granted
publishing under its own node id and subscribing under its own inbox prefix, for a short time; then the broker
drops the connection and the host asks again. Everybody else is refused. The control plane's own user does
not come this way: the broker knows it by its configuration.
"""

import asyncio
import contextlib
import json
import random
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import structlog

from control_plane.bus.client import Bus
from control_plane.bus.nats_jwt import Issuer, MalformedJwt, claims_of
from control_plane.bus.subjects import FLEET_ACCOUNT, node_grant, node_inbox_prefix
from control_plane.bus.subscriptions import Subscription
from control_plane.clock import Clock
from control_plane.errors import OrQuantaError, Unauthenticated, Unavailable
from control_plane.identity.certificates import node_principal_from_pem
from control_plane.model.identity import CertificateSerial, NodePrincipal
from control_plane.model.ids import NodeId

log = structlog.get_logger()

NodeCheck = Callable[[NodeId, CertificateSerial], Awaitable[bool]]

_REQUESTS: Final = "$SYS.REQ.USER.AUTH"
_CHECK_SECONDS: Final = 4.0  # the broker gives a client up after five
_MAX_CHECKS: Final = 32  # at a time
_MAX_SUBSCRIPTIONS: Final = 16  # of one connection of a host
_MAX_NODES_REMEMBERED: Final = 65_536
_MAX_CONNECTIONS_REMEMBERED: Final = 4  # of one host
_PUBLIC_KEY: Final = re.compile("[A-Z2-7]{56}")


@dataclass(frozen=True, slots=True)
class _Request:
    """What the broker asks. `certificate`: the client's own, PEM, verified; None if it has shown none."""

    user_key: str
    server_id: str
    connection_id: int | None
    certificate: str | None
    has_other_credentials: bool


class AuthCallout:
    """Answers the broker's authorisation requests for as long as it runs.

    `is_node_allowed` says whether a node may connect with the certificate of this serial: joined, not revoked.
    `grant_seconds`: the longest time until a host has to ask again; each gets up to a fifth less, at random,
    so that hosts that came together do not come together again.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        issuer_seed: bytes,
        is_node_allowed: NodeCheck,
        clock: Clock,
        grant_seconds: int = 600,
        max_payload_bytes: int = 1 << 20,
    ) -> None:
        self._bus = bus
        self._issuer = Issuer(issuer_seed)
        self._is_node_allowed = is_node_allowed
        self._clock = clock
        self._grant_seconds = grant_seconds
        self._max_payload_bytes = max_payload_bytes
        self._subscription: Subscription | None = None
        self._connections: OrderedDict[NodeId, deque[tuple[str, int]]] = OrderedDict()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to answer. Several control planes share the work."""
        self._subscription = await self._bus.serve(
            _REQUESTS, self.answer, queue="orquanta-auth", concurrency=_MAX_CHECKS
        )

    async def close(self) -> None:
        """Stop answering: from then on no host can connect."""
        if self._subscription is not None:
            await self._subscription.close()
            self._subscription = None

    async def disconnect(self, node_id: NodeId) -> None:
        """Cut a host's connections, after it was revoked.

        Reaches those that were granted since this control plane started; others end with their grant.
        """
        for server_id, connection_id in self._connections.pop(node_id, ()):
            with contextlib.suppress(OrQuantaError):  # it has gone by itself, or its grant will end
                await self._bus.request(
                    f"$SYS.REQ.SERVER.{server_id}.KICK", json.dumps({"cid": connection_id}).encode()
                )
            log.info("callout.disconnected", node_id=node_id)

    async def answer(self, request: bytes) -> bytes | None:
        """Return the signed response to a request; None if it is not one that can be answered."""
        try:
            asked = _parse(request)
        except (MalformedJwt, ValueError) as error:
            log.warning("callout.malformed_request", error=str(error), size_bytes=len(request))
            return None
        try:
            node = await self._authenticate(asked)
        except Unauthenticated as error:
            log.warning("callout.refused", reason=error.reason, error=error.message)
            return self._respond(asked, {"error": error.message})
        if asked.connection_id is not None:
            self._remember(node.node_id, asked.server_id, asked.connection_id)
        log.debug("callout.granted", node_id=node.node_id)
        return self._respond(asked, {"jwt": self._grant(asked, node)})

    async def _authenticate(self, asked: _Request) -> NodePrincipal:
        if asked.has_other_credentials:
            raise Unauthenticated(
                "user, password or token are not known here: connect with a node's client certificate alone",
                reason="BUS_CREDENTIALS_UNKNOWN",
            )
        if asked.certificate is None:
            raise Unauthenticated(
                "there is no verified client certificate: connect with the node's certificate",
                reason="BUS_NO_CERTIFICATE",
            )
        node = node_principal_from_pem(asked.certificate)
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                allowed = await self._is_node_allowed(node.node_id, node.serial)
        except Exception as error:
            if isinstance(error, Unavailable | TimeoutError):  # told where the database is: no bug, and hosts are many
                log.warning("callout.check_waits", node_id=node.node_id, why=str(error) or "no answer in time")
            else:
                log.exception("callout.check_failed", node_id=node.node_id)
            raise Unauthenticated(
                "the node cannot be checked just now: connect again in a while", reason="BUS_CHECK_FAILED"
            ) from error
        if not allowed:
            raise Unauthenticated(
                f"node {node.node_id} with certificate {node.serial} is not known or has been revoked: join it "
                "again with a fresh join token",
                reason="NODE_NOT_ALLOWED",
            )
        return node

    def _grant(self, asked: _Request, node: NodePrincipal) -> str:
        now = int(self._clock.now().timestamp())
        seconds = self._grant_seconds * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load, no secret
        return self._issuer.sign(
            {
                "sub": asked.user_key,
                "aud": FLEET_ACCOUNT,
                "name": node.node_id,
                "iat": now,
                "exp": now + max(1, int(seconds)),
                "nats": {
                    "type": "user",
                    "version": 2,
                    "pub": {"allow": [node_grant(node.node_id)]},
                    "sub": {"allow": [f"{node_inbox_prefix(node.node_id)}.>"]},
                    "subs": _MAX_SUBSCRIPTIONS,
                    "data": -1,
                    "payload": self._max_payload_bytes,
                    "allowed_connection_types": ["STANDARD"],
                },
            }
        )

    def _respond(self, asked: _Request, outcome: dict[str, str]) -> bytes:
        return self._issuer.sign(
            {
                "sub": asked.user_key,
                "aud": asked.server_id,
                "iat": int(self._clock.now().timestamp()),
                "nats": {"type": "authorization_response", "version": 2, **outcome},
            }
        ).encode()

    def _remember(self, node_id: NodeId, server_id: str, connection_id: int) -> None:
        known = self._connections.setdefault(node_id, deque(maxlen=_MAX_CONNECTIONS_REMEMBERED))
        known.append((server_id, connection_id))
        self._connections.move_to_end(node_id)
        while len(self._connections) > _MAX_NODES_REMEMBERED:
            self._connections.popitem(last=False)


def _parse(request: bytes) -> _Request:
    """Take a request apart, believing nothing about its shape. Raises MalformedJwt."""
    asked = _object(claims_of(request), "nats")
    user_key, server_id = asked.get("user_nkey"), _object(asked, "server_id").get("id")
    if not all(isinstance(key, str) and _PUBLIC_KEY.fullmatch(key) for key in (user_key, server_id)):
        raise MalformedJwt("user_nkey or server_id is not a public key")
    options = _object(asked, "connect_opts", {})
    connection_id = _object(asked, "client_info", {}).get("id")
    return _Request(
        user_key=str(user_key),
        server_id=str(server_id),
        connection_id=connection_id if isinstance(connection_id, int) else None,
        certificate=_leaf(_object(asked, "client_tls", {})),
        has_other_credentials=any(options.get(name) for name in ("user", "pass", "auth_token", "jwt", "nkey")),
    )


def _leaf(client_tls: dict[str, Any]) -> str | None:
    match client_tls.get("verified_chains"):  # `certs`, which it has otherwise, are unverified
        case [[str(leaf), *_], *_]:
            return leaf
        case _:
            return None


def _object(parent: dict[str, Any], name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
    value = parent.get(name, default)
    if not isinstance(value, dict):
        raise MalformedJwt(f"{name} is not an object")
    return value
