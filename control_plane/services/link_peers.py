"""What a control plane knows of the links that the others hold, where several share one database."""

import json
from dataclasses import asdict
from typing import Final, Self

import structlog

from control_plane.bus.client import Bus
from control_plane.bus.subjects import replica_link
from control_plane.bus.subscriptions import Subscription
from control_plane.clock import Clock
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.model.ids import NodeId
from control_plane.replicas.directory import GONE_SECONDS, Directory
from control_plane.services.link_registry import LinkRegistry, Rival
from control_plane.services.link_signs import ask_for_a_sign
from control_plane.services.link_terms import LinkTerms

log = structlog.get_logger()

_ANSWER_SECONDS: Final = 0.5
_REASON_MAX: Final = 300
_REQUEST_BYTES_MAX: Final = 1_024
_ANSWERS_AT_ONCE: Final = 8


class LinkPeers:
    """The other replicas, as this one's links need them. An asynchronous context manager: it answers while entered.

    Whether two hosts have one identity is asked of the replica that holds the older link: only its own clock tells when
    it was heard last. One that does not answer is gone, and so is its link. Unless it still announces itself, it is not
    asked again for a while: each of its hosts comes here, and a question holds up a greeting.
    """

    def __init__(
        self, bus: Bus, directory: Directory, registry: LinkRegistry, *, terms: LinkTerms, clock: Clock
    ) -> None:
        self._bus = bus
        self._directory = directory
        self._registry = registry
        self._terms = terms
        self._clock = clock
        self._silent_until: dict[str, float] = {}  # no more than there are replicas
        self._subscription: Subscription | None = None
        self.name = directory.own_name
        """The name of this replica."""

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.serve(replica_link(self.name), self._answer, concurrency=_ANSWERS_AT_ONCE)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            await self._subscription.close()

    def link_servers(self) -> tuple[str, ...]:
        """Return every address at which hosts may link."""
        return self._directory.link_servers()

    def is_there(self, name: str) -> bool:
        """Return whether a replica announces itself."""
        return self._directory.is_there(name)

    async def rival(self, holder: str, node_id: NodeId, boot_id: str) -> Rival | None:
        """Return why a stream here must not replace the one that another replica holds, or nothing if it may."""
        if holder in ("", self.name) or self._clock.monotonic() < self._silent_until.get(holder, 0.0):
            return None
        question = json.dumps({"node_id": node_id, "boot_id": boot_id}).encode()
        try:
            answer = await self._bus.request(replica_link(holder), question, timeout_seconds=_ANSWER_SECONDS)
            said = json.loads(answer)
            why = str(said["why"])[:_REASON_MAX]
            return Rival(why, may_be_left=said.get("may_be_left") is True) if why else None
        except (OrQuantaError, ValueError, KeyError, TypeError) as error:
            log.info("link.holder_silent", node_id=node_id, holder=holder, why=str(error)[:_REASON_MAX])
            # One late answer of a replica that is there says nothing about its other hosts.
            if isinstance(error, Unavailable) and not self._directory.is_there(holder):
                self._silent_until[holder] = self._clock.monotonic() + GONE_SECONDS
            return None

    async def _answer(self, request: bytes) -> bytes | None:
        if len(request) > _REQUEST_BYTES_MAX:
            return None
        asked = json.loads(request)
        node_id, boot_id = NodeId(str(asked["node_id"])), str(asked["boot_id"])
        hosts = self._registry.hosts
        alive_seconds = self._terms.among(hosts).alive_seconds_of(hosts)
        rival = self._registry.rival(node_id, boot_id, alive_seconds=alive_seconds)
        if rival is None:
            return b'{"why": ""}'
        ask_for_a_sign(self._registry.link(node_id))
        return json.dumps(asdict(rival)).encode()
