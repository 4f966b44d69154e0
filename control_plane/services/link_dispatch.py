"""Pushes to each host what should run there, whenever the books say that it changed; revoked hosts are sent away."""

import asyncio
from functools import partial
from typing import Final

import structlog
from orquanta.v1 import node_link_pb2

from control_plane.errors import Unavailable
from control_plane.governor import books
from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.model.record import Noun
from control_plane.services.feed import EventFeed
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession
from control_plane.services.link_wire import assignment
from control_plane.services.link_writer import LinkWriter
from control_plane.store import nodes
from control_plane.store.allocations import ASSIGNMENTS_CHANGED
from control_plane.store.database import Store, Tx

log = structlog.get_logger()

_NODES_PER_READ: Final = 64
_PAUSE_SECONDS: Final = 0.5
_INTERESTING: Final = frozenset({ASSIGNMENTS_CHANGED, "node.revoked", "node.lost"})

_View = dict[NodeId, tuple[NodeState | None, tuple[books.Assignment, ...]]]


class LinkDispatch:
    """The one loop that reads for all links, so that no host is ever told an older state after a newer one."""

    def __init__(self, store: Store, feed: EventFeed, registry: LinkRegistry, writer: LinkWriter) -> None:
        self._store = store
        self._feed = feed
        self._registry = registry
        self._writer = writer
        self._dirty: dict[NodeId, None] = {}
        self._wake = asyncio.Event()

    def refresh(self, node_id: NodeId) -> None:
        """Have the node's desired state read and pushed."""
        self._dirty[node_id] = None
        self._wake.set()

    async def run(self) -> None:
        """Push until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._push())

    async def _watch(self) -> None:
        seen = self._feed.newest
        while True:
            try:
                seen, found = await self._feed.beyond(seen)
            except Unavailable:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if found is None:
                for link in self._registry.links():  # what happened is not known any more: look at all
                    self.refresh(link.node_id)
                continue
            for event in found:
                if event.noun is Noun.NODE and event.kind in _INTERESTING:
                    self._notice(NodeId(event.id), event.kind)

    def _notice(self, node_id: NodeId, kind: str) -> None:
        if self._registry.connected(node_id):
            self.refresh(node_id)
        elif kind == "node.revoked":
            self._forget(node_id)

    def _forget(self, node_id: NodeId) -> None:
        self._registry.forget(node_id)
        self._writer.forget(node_id)

    async def _push(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dirty:
                wanted = list(self._dirty)[:_NODES_PER_READ]
                for node_id in wanted:
                    del self._dirty[node_id]
                try:
                    view = await self._store.read(partial(_view, node_ids=wanted))
                except Unavailable:
                    self._dirty.update(dict.fromkeys(wanted))
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                for node_id, (state, assignments) in view.items():
                    self._tell(node_id, state, assignments)

    def _tell(self, node_id: NodeId, state: NodeState | None, assignments: tuple[books.Assignment, ...]) -> None:
        session = self._registry.link(node_id)
        if not isinstance(session, LinkSession):
            return
        if state is None or state is NodeState.REVOKED:
            session.end(
                "this node was revoked; to bring the host back, join it again with a fresh join token", permanent=True
            )
            self._forget(node_id)
        elif state is NodeState.LOST and session.welcomed:
            session.end("it was silent for longer than its lease; its full state is needed")
        else:
            members = tuple(assignment(wanted) for wanted in assignments)
            if members == session.desired:
                return
            session.desired = members
            session.revision += 1
            session.outbox.put_desired(
                node_link_pb2.DesiredState(
                    control_epoch=self._store.control_epoch, revision=session.revision, members=members
                )
            )


def _view(tx: Tx, node_ids: list[NodeId]) -> _View:
    view: _View = {}
    for node_id in node_ids:
        node = nodes.get(tx, node_id)
        view[node_id] = (None if node is None else node.state, books.desired(tx, node_id))
    return view
