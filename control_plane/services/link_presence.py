"""Writes down which hosts are heard, and sees to it that only who may do so acknowledges their heartbeats."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import Unavailable
from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.services.link_admission import LinkAdmission
from control_plane.services.link_lease import LinkLease
from control_plane.services.link_peers import LinkPeers
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession
from control_plane.services.link_terms import LinkTerms
from control_plane.store import audit, link_holders, nodes
from control_plane.store.database import Store, Tx
from control_plane.store.pages import batched

log = structlog.get_logger()

SEEN_AT_ONCE: Final = 200
_BETWEEN_SECONDS: Final = 0.5
"""Ten thousand hosts take 25 s: each is a row of some kilobytes to write again."""

_EXCUSE_SECONDS: Final = 1.0
_COUNT_SECONDS: Final = 10.0
_TWO_AT_ONCE: Final = "another host called with the certificate of one that was connected, and spoke on"
_SUPERSEDED: Final = "CONTROL_PLANE_SUPERSEDED"


class LinkPresence:
    """Its loops are for all links; `superseded` is awaited when another control plane has taken over for good.

    `counted` is called when the number of hosts is known.
    """

    def __init__(
        self,
        store: Store,
        registry: LinkRegistry,
        peers: LinkPeers | None,
        admission: LinkAdmission,
        lease: LinkLease,
        *,
        clock: Clock,
        terms: LinkTerms,
        superseded: Callable[[], Awaitable[None]],
        counted: Callable[[], object],
    ) -> None:
        self._store = store
        self._registry = registry
        self._peers = peers
        self._admission = admission
        self._lease = lease
        self._clock = clock
        self._terms = terms
        self._superseded = superseded
        self._counted = counted

    async def run(self) -> None:
        """Run the loops until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flush())
            tasks.create_task(self._excuse())
            tasks.create_task(self._count())
            tasks.create_task(self._tell_of_rivals())
            if self._peers is None:
                tasks.create_task(self._stay_in_charge())
                tasks.create_task(self._look_back())
            else:
                tasks.create_task(self._stay_held(self._peers))
                tasks.create_task(self._tell_again())

    async def _flush(self) -> None:
        """Write when hosts were last heard, some hundred of them at a time: what else is written waits for so long.

        Among replicas the leader must know of all of them within a lease; nobody else is in such a hurry.
        """
        while True:
            await asyncio.sleep(self._terms.flush_seconds)
            taken_at = self._clock.monotonic()
            waiting = iter(self._registry.take_heard())
            while heard := tuple(islice(waiting, SEEN_AT_ONCE)):
                try:
                    await self._store.write(partial(nodes.seen, node_ids=heard, at=self._clock.now()))
                except Unavailable:
                    self._registry.give_back_heard((*heard, *waiting))
                    break
                self._registry.note_reported(heard, taken_at)
                await asyncio.sleep(_BETWEEN_SECONDS if self._peers is None and len(heard) == SEEN_AT_ONCE else 0)

    async def _excuse(self) -> None:
        """Count hosts that were told to come back later as heard until then, unless they were revoked."""
        while True:
            await asyncio.sleep(_EXCUSE_SECONDS)
            no_more = self._registry.look_up_excuses()
            put_off = self._admission.take_put_off()
            for ids in batched(put_off):
                try:
                    standing = await self._store.read(partial(nodes.states, node_ids=ids))
                except Unavailable:
                    # While the store is away nobody is declared lost; once it is back, nobody is for having waited.
                    self._admission.give_back(put_off)
                    break
                for node in standing:
                    if node.state is not NodeState.REVOKED and node.id not in no_more:
                        self._registry.excuse(node.id, put_off[node.id])

    async def _tell_of_rivals(self) -> None:
        """Put on record which nodes are two hosts at once; while the store is away, wait for it."""
        rivals: dict[NodeId, None] = {}
        while True:
            await asyncio.sleep(_EXCUSE_SECONDS)
            rivals.update(dict.fromkeys(self._registry.two_at_once()))
            with contextlib.suppress(Unavailable):
                for node_id in tuple(rivals):
                    await self._store.write(partial(record_rival, node_id=node_id, why=_TWO_AT_ONCE))
                    del rivals[node_id]

    async def _count(self) -> None:
        """Know how many hosts there are, so that thousands beat less often than a few."""
        while True:
            await asyncio.sleep(_COUNT_SECONDS)
            try:
                await self._lease.count()
            except Unavailable as error:
                log.debug("link.hosts_unknown", why=error.message)
            else:
                self._counted()

    async def _tell_again(self) -> None:
        """Say as often who was heard as how long a lease hosts were told: the leader has to know of both."""
        while True:
            await asyncio.sleep(self._terms.flush_seconds)
            with contextlib.suppress(Unavailable):
                await self._lease.tell_again()

    async def _look_back(self) -> None:
        """Judge by what was told before this control plane came until nobody goes by that any more."""
        counts = True
        while counts:
            await asyncio.sleep(_COUNT_SECONDS)
            with contextlib.suppress(Unavailable):
                counts = await self._lease.look_back()

    async def _stay_in_charge(self) -> None:
        """Look several times in a lease whether another control plane has taken over; if so, send every host away."""
        pause = min(self._terms.flush_seconds, self._terms.lease_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            asked_at = self._clock.monotonic()
            try:
                await self._store.confirm()
            except Unavailable as error:
                if error.reason == _SUPERSEDED:
                    log.warning("link.superseded", why=error.message)
                    await self._superseded()
            else:
                self._registry.note_in_charge(asked_at)

    async def _stay_held(self, peers: LinkPeers) -> None:
        """Look whether the books still have these links: others drop those of a replica that they do not hear."""
        while True:
            await asyncio.sleep(self._terms.lease_seconds / 3)
            try:
                held = await self._store.read(partial(link_holders.held_by, replica=peers.name))
            except Unavailable:
                continue
            for link in self._registry.links():
                if isinstance(link, LinkSession) and link.welcomed and link.node_id not in held:
                    await self._take_again(link, peers.name)

    async def _take_again(self, session: LinkSession, name: str) -> None:
        def write(tx: Tx) -> bool:
            holder = link_holders.holder(tx, session.node_id)
            if holder not in ("", name):
                return False
            link_holders.take(tx, session.node_id, name)
            return True

        try:
            taken = await self._store.write(write)
        except Unavailable:
            return
        if not taken:
            self._registry.excuse_no_more(session.node_id)
            session.end("another control plane of this fleet holds its link")
        elif session.inventory is not None:
            session.state_changed(session.fresh_inventory or session.inventory)


def record_rival(tx: Tx, node_id: NodeId, why: str) -> None:
    """Put on record that two hosts may have one identity."""
    audit.append(
        tx,
        agent_name="node-link",
        action="link.refuse",
        reasoning=f"{why}; its key may have been copied: revoke the node and join the host again",
        outcome="refused",
        node_id=node_id,
    )
