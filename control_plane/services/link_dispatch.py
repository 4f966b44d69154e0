"""Pushes to each host what should run there, whenever the books say that it changed; revoked hosts are sent away."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import Unavailable
from control_plane.governor import books
from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.model.record import Event, Noun
from control_plane.services.link_books import MemberKey
from control_plane.services.link_elsewhere import LinkElsewhere
from control_plane.services.link_orders import condition_order, member_stops, repair_order
from control_plane.services.link_policy import LocalPolicies
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession
from control_plane.services.link_wanted import Orders, of_nodes
from control_plane.services.link_wire import assignment
from control_plane.services.link_writer import LinkWriter
from control_plane.store import conditions, link_holders, repairs
from control_plane.store.allocations import ASSIGNMENTS_CHANGED
from control_plane.store.database import Store
from control_plane.store.epochs import LEADER_CHANGED
from control_plane.store.feed import EventFeed
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

_NODES_PER_READ: Final = 128
"""As many as are treated in one transaction in a storm."""
_PAUSE_SECONDS: Final = 0.5
_CHECK_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 60.0
"""So long after what the books say of a host could not be read, it is tried again without any event."""

_WITHDRAWN_SECONDS: Final = 5.0
"""How long a host may say nothing of a member that it was asked to run and then to stop. An order that a newer one
overtakes on its way leaves no trace on the host, and only the host's full state tells that it never started."""

_INTERESTING: Final = frozenset(
    {ASSIGNMENTS_CHANGED, repairs.CHANGED, conditions.ORDERED, link_holders.MOVED, "node.revoked", "node.lost"}
)

_KILL_SWITCH: Final = frozenset({"kill_switch.engaged", "kill_switch.released"})


class LinkDispatch:
    """The one loop that reads for all links, so that no host is ever told an older state after a newer one.

    Among several control planes, `replica` is the name of this one, and `elsewhere` follows the links of the others.
    """

    def __init__(
        self,
        store: Store,
        feed: EventFeed,
        registry: LinkRegistry,
        writer: LinkWriter,
        policies: LocalPolicies | None,
        *,
        clock: Clock,
        replica: str = "",
        elsewhere: LinkElsewhere | None = None,
    ) -> None:
        self._store = store
        self._replica = replica
        self._elsewhere = elsewhere
        self._policies = policies
        self._feed = feed
        self._registry = registry
        self._writer = writer
        self._clock = clock
        self._dirty: dict[NodeId, None] = {}
        self._again: dict[NodeId, float] = {}  # no more than have links, or had one of late
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
            tasks.create_task(self._chase())
            if self._policies is not None:
                tasks.create_task(self._policies.run(self._refresh_all))

    def _refresh_all(self) -> None:
        for link in self._registry.links():
            self.refresh(link.node_id)

    async def _watch(self) -> None:
        seen = self._feed.newest
        while True:
            try:
                seen, found = await self._feed.beyond(seen)
            except Unavailable:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if found is None:
                self._refresh_all()  # what happened is not known any more
            for event in found or ():
                self._take(event)
            if self._elsewhere is not None:
                self._elsewhere.note(found)
                await self._elsewhere.follow()

    def _take(self, event: Event) -> None:
        if event.noun is Noun.ACTION and event.kind in _KILL_SWITCH:
            self._refresh_all()
        elif event.noun is Noun.NODE and event.kind in _INTERESTING:
            self._notice(NodeId(event.id), event.kind)
        elif event.noun is Noun.AGENT and event.kind == LEADER_CHANGED:
            self._refresh_all()  # hosts must know the epoch, to refuse what an older one orders

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
                    view = await self._read(wanted)
                except Unavailable:
                    self._dirty.update(dict.fromkeys(wanted))
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                for node_id, orders in view.items():
                    self._tell(node_id, orders)

    async def _read(self, wanted: list[NodeId]) -> Mapping[NodeId, Orders]:
        """Read what the books say of many nodes; if that fails, of each alone: one's trouble is not that of the others.

        Of whom nothing can be read is told nothing, so that it goes on with what it was told last. Raises Unavailable.
        """
        try:
            return await self._store.read(
                partial(of_nodes, node_ids=wanted, epoch=self._store.epoch_of_orders, replicated=bool(self._replica))
            )
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, each node is read alone then
            if len(wanted) == 1:
                log.error("link.orders_unreadable", node_id=wanted[0], why=f"{type(error).__name__}: {error}")  # noqa: TRY400 - as long as it lasts this is said again and again
                self._again[wanted[0]] = self._clock.monotonic() + _AGAIN_SECONDS
                return {}
        view: dict[NodeId, Orders] = {}
        for node_id in wanted:
            view |= await self._read([node_id])
        return view

    async def _chase(self) -> None:
        """Look again at hosts that have been silent about a withdrawn member for too long, and that were unreadable."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = self._clock.monotonic()
            for node_id in [node_id for node_id, at in self._again.items() if at < now]:
                del self._again[node_id]
                if self._registry.connected(node_id):
                    self.refresh(node_id)

    def _is_overdue(self, session: LinkSession) -> bool:
        now = self._clock.monotonic()
        return any(now - since > _WITHDRAWN_SECONDS for since in session.withdrawn_at.values())

    def _tell(self, node_id: NodeId, orders: Orders) -> None:
        session = self._registry.link(node_id)
        if not isinstance(session, LinkSession):
            return
        state = orders.state
        if state is None or state is NodeState.REVOKED:
            session.end(
                "this node was revoked; to bring the host back, join it again with a fresh join token", permanent=True
            )
            self._forget(node_id)
        elif orders.holder not in ("", self._replica) and session.welcomed:
            session.end("another control plane of this fleet holds its link now")
        elif state is NodeState.LOST and session.welcomed:
            session.end("it was silent for longer than its lease; its full state is needed")
        else:
            self._settle_withdrawn(session, orders)
            self._order(session, orders)
            if orders.unread and session.inventory is not None and session.fresh_inventory is None:
                session.state_changed(session.inventory)  # the books get it anew

    def _settle_withdrawn(self, session: LinkSession, orders: Orders) -> None:
        """See to it that members end which were withdrawn before their host spoke of them: it may never do."""
        withdrawn = {_key(one) for one in orders.members.withdrawn}
        unheard = withdrawn - session.told_of
        if unheard:
            session.never_started |= unheard
            self._writer.changed(session)
        now = self._clock.monotonic()
        session.withdrawn_at = {key: session.withdrawn_at.get(key, now) for key in withdrawn - unheard}
        session.told_of = (session.told_of & withdrawn) | {_key(one) for one in orders.members.desired}
        if self._is_overdue(session):
            session.end("what became of a member that was withdrawn early is unknown: its full state is needed")
        elif session.withdrawn_at:
            self._again[session.node_id] = min(session.withdrawn_at.values()) + _WITHDRAWN_SECONDS

    def _order(self, session: LinkSession, orders: Orders) -> None:
        policy = None if self._policies is None else self._policies.signed(session.node_id)
        wanted = node_link_pb2.DesiredState(
            control_epoch=orders.epoch,
            members=[assignment(one, orders.traceparents.get(one.job.id, "")) for one in orders.members.desired],
            repair=None if orders.repair is None else repair_order(orders.repair),
            policy=policy,
            condition_orders=[condition_order(one) for one in orders.said],
            stops=member_stops(orders.members.stopping),
        )
        if wanted == session.desired:
            return
        session.desired = wanted
        session.revision += 1
        told = node_link_pb2.DesiredState()
        told.CopyFrom(wanted)
        told.revision = session.revision
        session.outbox.put_desired(told)


def _key(one: books.Assignment) -> MemberKey:
    return one.allocation.id, one.member.rank
