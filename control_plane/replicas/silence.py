"""For how long each host was silent towards all replicas, as the leader knows it.

Each replica writes down several times in a lease which hosts it has heard. The leader looks whether that has changed,
and counts on its own monotonic clock from when it saw the change: the replicas' wall clocks are never compared.
"""

import asyncio
from datetime import datetime
from typing import Final

import structlog

from control_plane.errors import Unavailable
from control_plane.model.ids import NodeId
from control_plane.replicas.directory import Directory
from control_plane.store import link_holders
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
        self._from = self._clock.monotonic()
        self._looked_at = self._from
        self._stamps: dict[NodeId, tuple[datetime, datetime | None]] = {}
        self.lease_seconds = 0.0
        """Where several control planes share the links, each host is told the lease that is set."""
        self._heard: dict[NodeId, float] = {}

    def silent_for_seconds(self, node_id: NodeId) -> float:
        """Return for how long no replica has heard a node; one that was not asked about before counts as just heard."""
        now = self._clock.monotonic()
        return now - max(self._from, self._heard.setdefault(node_id, now))

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
        stamps, holders = await self._store.read(lambda tx: (link_holders.last_seen(tx), link_holders.every(tx)))
        now = self._clock.monotonic()
        if now - self._looked_at > _BLIND_SECONDS:
            self._from = now
        self._looked_at = now
        self._heard.update({node_id: now for node_id, at in stamps.items() if self._stamps.get(node_id) != at})
        self._stamps = stamps
        if now - self._from < _BLIND_SECONDS:
            return  # who leads since a moment ago may not have heard everybody
        for replica in sorted({name for name in holders.values() if not self._directory.is_there(name)}):
            await self._forget(replica)

    async def _forget(self, replica: str) -> None:
        """A lost replica is not its hosts' fault: each has a whole lease from now on to link to another one."""
        gone = await self._store.write(lambda tx: link_holders.drop(tx, replica))
        now = self._clock.monotonic()
        self._heard.update(dict.fromkeys(gone, now))
        log.warning("replica.gone", replica=replica, links=len(gone))
