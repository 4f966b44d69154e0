"""The lease that hosts are told: it stretches with the fleet, and is in the books before any host is told of it.

Whoever judges silence reads the books. So nobody is judged by a shorter lease than any control plane has told a host,
however few hosts the judge counts by itself; see docs/decisions/leases-in-the-books.md.
"""

import asyncio
import secrets
from functools import partial

from control_plane.clock import Clock
from control_plane.fleet.told_leases import ToldLease, ToldLeases
from control_plane.model.node import NodeState
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_terms import LinkTerms
from control_plane.store import nodes, told_leases
from control_plane.store.database import Store

_GONE = (NodeState.LOST, NodeState.REVOKED)


class LinkLease:
    """What one control plane tells, and, where it is the only one, what those before it have told.

    Its name in the books is its own: what another process has told stands there until nobody goes by it any more.
    """

    def __init__(self, store: Store, registry: LinkRegistry, *, clock: Clock, terms: LinkTerms) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._terms = terms
        self._teller = secrets.token_hex(8)
        self._telling = asyncio.Lock()
        self._seconds = 0.0
        self._times = 0
        self._before = ToldLeases()

    async def count(self) -> None:
        """Learn how many hosts there are. Hosts are told a longer lease once that is written down. Raises Unavailable.

        Never fewer: who was told a long lease keeps it for as long as its stream lasts.
        """
        counts = await self._store.read(nodes.count_by_state)
        hosts = max(self._registry.hosts, sum(number for state, number in counts.items() if state not in _GONE))
        if self._terms.among(hosts).lease_seconds > self._seconds:
            await self._tell(hosts)
        self._registry.hosts = hosts

    async def tell_again(self) -> None:
        """Say once more what hosts were told, for what is not said again is forgotten. Raises Unavailable."""
        await self._tell(self._registry.hosts)

    async def _tell(self, hosts: int) -> None:
        async with self._telling:  # or a shorter one could be written over a longer one
            self._times += 1
            told = ToldLease(max(self._seconds, self._terms.among(hosts).lease_seconds), self._times)
            asked_at = self._clock.monotonic()
            await self._store.write(partial(told_leases.tell, teller=self._teller, told=told))
            self._seconds = told.seconds
            self._registry.note_told(asked_at)

    async def look_back(self) -> bool:
        """Learn what was told before this control plane came; return whether any of it still counts.

        Raises Unavailable.
        """
        told = await self._store.read(told_leases.every)
        told.pop(self._teller, None)
        now = self._clock.monotonic()
        self._before.look(told, now)
        self._registry.note_told_before(self._before.seconds)
        if over := self._before.over(now):
            await self._store.write(partial(told_leases.forget, over=over))
        return bool(told)
