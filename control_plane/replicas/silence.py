"""For how long each host was silent towards all replicas, as the leader knows it.

Each replica writes down several times in a lease which hosts it has heard. The leader looks whether that has changed,
and counts on its own monotonic clock from when it saw the change: the replicas' wall clocks are never compared.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from control_plane.errors import Unavailable
from control_plane.fleet.told_leases import ToldLease, ToldLeases
from control_plane.model.ids import NodeId
from control_plane.replicas.directory import Directory
from control_plane.store import link_holders, told_leases
from control_plane.store.database import Store

log = structlog.get_logger()

_LOOK_SECONDS: Final = 0.5
_BLIND_SECONDS: Final = 3.0
"""After not having seen the database for so long, every host counts as heard: nobody could have written."""


class FleetSilence:
    """Silence of hosts, counted from the beginning of this replica's lead at the earliest."""

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        self._directory = directory
        self._clock = store.clock
        self._from = self._looked_at = -math.inf
        self._position: int | None = None
        self._linked: dict[NodeId, datetime] = {}
        self._written: dict[NodeId, datetime] = {}
        self._counts: Counter[datetime] = Counter()
        """How many nodes were heard at each moment, as it is written."""
        self._told = ToldLeases()
        self._heard: dict[NodeId, float] = {}

    @property
    def lease_seconds(self) -> float:
        """The longest lease that any replica has told a host, as of the look that tells who was heard."""
        return self._told.seconds

    def silent_for_seconds(self, node_id: NodeId) -> float:
        """Return for how long no replica has heard a node; one that was not asked about before counts as just heard.

        Who has not looked for a while knows nobody as silent: neither who was heard since, nor what they were told.
        """
        now = self._clock.monotonic()
        if now - self._looked_at > _BLIND_SECONDS:
            return 0.0
        return max(0.0, now - max(self._from, self._heard.setdefault(node_id, now)))

    async def run(self) -> None:
        """Look until cancelled; forget the links of replicas that are gone."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except Unavailable as error:
                log.warning("replica.silence_unknown", why=error.message)

    async def look(self) -> None:
        """Look once. Raises Unavailable."""
        # What was told is read last: whoever was heard had been told it before.
        (self._position, linked), written, holders, told = await self._store.read(
            lambda tx: (
                link_holders.linked_at(tx, self._position),
                link_holders.heard_at(tx, self._counts),
                link_holders.holders(tx),
                told_leases.every(tx),
            )
        )
        now = self._clock.monotonic()
        if now - self._looked_at > _BLIND_SECONDS:
            self._from, self._told = now, ToldLeases()
        self._looked_at = now
        self._heard.update(dict.fromkeys((*self._linked_anew(linked), *self._written_anew(written)), now))
        await self._follow(told, now)
        if now - self._from < _BLIND_SECONDS:
            return  # who leads since a moment ago may not have heard everybody
        for replica in holders:
            if not self._directory.is_there(replica):
                await self._forget(replica)

    def _linked_anew(self, linked: Mapping[NodeId, datetime]) -> list[NodeId]:
        anew = [node_id for node_id, at in linked.items() if self._linked.get(node_id) != at]
        self._linked.update(linked)
        return anew

    def _written_anew(self, written: Mapping[NodeId, datetime]) -> list[NodeId]:
        anew = [node_id for node_id, at in written.items() if self._written.get(node_id) != at]
        self._counts.subtract(self._written[node_id] for node_id in anew if node_id in self._written)
        self._written.update(written)
        self._counts.update(written[node_id] for node_id in anew)
        self._counts = +self._counts  # without moments at which nobody was heard last
        return anew

    async def _follow(self, told: Mapping[str, ToldLease], now: float) -> None:
        """Judge by the longest lease that was told; when that counts no more, who went by it still has all of it."""
        if fallen := self._told.look(told, now):
            self._heard = {node_id: max(at, self._from) + fallen for node_id, at in self._heard.items()}
        if over := self._told.over(now):
            await self._store.write(partial(told_leases.forget, over=over))

    async def _forget(self, replica: str) -> None:
        """A lost replica is not its hosts' fault: each has a whole lease from now on to link to another one."""
        gone = await self._store.write(lambda tx: link_holders.drop(tx, replica))
        now = self._clock.monotonic()
        self._heard.update(dict.fromkeys(gone, now))
        log.warning("replica.gone", replica=replica, links=len(gone))
