"""What the links of other replicas mean for this one: whose GPUs are whose, and who waits here no more."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from control_plane.errors import Unavailable
from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.model.record import Event, Noun
from control_plane.services.link_claims import GpuClaims
from control_plane.services.link_registry import LinkRegistry
from control_plane.store import gpu_briefs, link_holders
from control_plane.store.database import Store, Tx

_NODES_PER_READ: Final = 64
_PAUSE_SECONDS: Final = 0.5
_STATED: Final = frozenset(f"node.{state.value}" for state in NodeState)
"""Kinds of events after which a node's inventory may be another, or its link elsewhere."""


@dataclass(frozen=True, slots=True)
class _Known:
    gpus: Mapping[NodeId, Sequence[str]]
    holders: Mapping[NodeId, str]


class LinkElsewhere:
    """Follows the nodes that events are about. `name`: this replica's; `is_there` tells whether another one is."""

    def __init__(
        self,
        store: Store,
        registry: LinkRegistry,
        claims: GpuClaims,
        *,
        name: str,
        is_there: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._registry = registry
        self._claims = claims
        self._name = name
        self._is_there = is_there
        self._changed: dict[NodeId, None] = {}
        self._all = False  # any node may have changed

    def note(self, found: Iterable[Event] | None) -> None:
        """Take note of events, for `follow`; None if nobody knows them any more: any node may have changed."""
        if found is None:
            self._all = True
            return
        for event in found:
            if event.noun is Noun.NODE and event.kind in _STATED:
                self._changed[NodeId(event.id)] = None

    async def follow(self) -> None:
        """Learn what the books say of the nodes that have changed; while the store is away, wait for it."""
        while self._all or self._changed:
            wanted = None if self._all else list(self._changed)[:_NODES_PER_READ]
            try:
                known = await self._store.read(partial(_read, node_ids=wanted))
            except Unavailable:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if wanted is None:
                self._all = False
                self._changed.clear()  # they are among all
                wanted = list({*known.gpus, *known.holders, *self._claims.nodes()})
            for node_id in wanted:
                self._changed.pop(node_id, None)
            self._learn(known, [node_id for node_id in wanted if not self._registry.connected(node_id)])

    def _learn(self, known: _Known, elsewhere: Sequence[NodeId]) -> None:
        """Take over what the books say of nodes that are not linked here."""
        gpus = {node_id: known.gpus.get(node_id, ()) for node_id in elsewhere}
        for _ in range(2):  # a GPU that has gone from one to another is free only after the first time
            self._claims.load(gpus)
        for node_id in elsewhere:
            holder = known.holders.get(node_id, "")
            # The link that a replica had which is gone may be what the host comes back from.
            if holder not in ("", self._name) and self._is_there(holder):
                self._registry.excuse_no_more(node_id)


def _read(tx: Tx, node_ids: Sequence[NodeId] | None) -> _Known:
    """Read of these nodes, or of all: then those that were revoked are left out."""
    if node_ids is None:
        return _Known(gpu_briefs.uuids(tx), link_holders.every(tx))
    holders = {node_id: link_holders.holder(tx, node_id) for node_id in node_ids}
    return _Known(gpu_briefs.uuids(tx, node_ids), holders)
