"""The control plane's side of all links: accepts streams and runs the loops behind them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import PermissionDenied
from control_plane.identity.ca import CertificateAuthority
from control_plane.model.identity import NodePrincipal
from control_plane.model.ids import AllocationId
from control_plane.services.link_admission import LinkAdmission
from control_plane.services.link_answers import LateAnswers
from control_plane.services.link_books import Settled
from control_plane.services.link_claims import GpuClaims
from control_plane.services.link_dispatch import LinkDispatch
from control_plane.services.link_elsewhere import LinkElsewhere
from control_plane.services.link_greeting import (
    TRY_LATER_SECONDS,
    PutOff,
    Rejected,
    Requests,
    checked,
    hello,
)
from control_plane.services.link_health_writer import LinkHealthWriter
from control_plane.services.link_lease import LinkLease
from control_plane.services.link_peers import LinkPeers
from control_plane.services.link_policy import LocalPolicies
from control_plane.services.link_presence import LinkPresence, record_rival
from control_plane.services.link_recorder import LinkRecorder
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession, end_silent
from control_plane.services.link_signs import ask_for_a_sign
from control_plane.services.link_stream import Context, LinkStream
from control_plane.services.link_terms import LinkTerms
from control_plane.services.link_verdicts import LinkVerdicts
from control_plane.services.link_writer import LinkWriter
from control_plane.services.reader import hand_over
from control_plane.store import gpu_briefs, link_holders, nodes
from control_plane.store.database import Store, Tx
from control_plane.store.feed import EventFeed
from control_plane.urgency import Urgency
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

_ASK_AGAIN_SECONDS: Final = 5.0
"""When a host may come back that may have left a stream behind: if that is so, it has ended by then, or soon."""

_SILENCE_LOOKS: Final = 0.2
"""How often silence is looked for, as a part of the lease."""


class NodeLinks:
    """Every link of this control plane. `start`, then `run` in a task group; `close` before the server stops.

    `nats_servers` gives the broker's URLs that hosts are told, `policies` what each may do while its link is down.
    `peers` are the other control planes, where several share the links of one fleet; then attempts whose end is in
    doubt are judged by the leader, not here.
    """

    def __init__(
        self,
        store: Store,
        ca: CertificateAuthority,
        feed: EventFeed,
        registry: LinkRegistry,
        *,
        clock: Clock,
        terms: LinkTerms,
        policies: LocalPolicies | None = None,
        nats_servers: Callable[[], Sequence[str]] = tuple,
        peers: LinkPeers | None = None,
        admission: LinkAdmission | None = None,
        urgency: Urgency | None = None,
    ) -> None:
        urgency = urgency or Urgency()
        self._store = store
        self._peers = peers
        self._admission = admission or LinkAdmission(clock)
        self._clock = clock
        self._terms = terms
        self._nats_servers = nats_servers
        self._closing = False
        self._sessions: set[LinkSession] = set()
        self._among = terms
        self._claims = GpuClaims()
        self.registry = registry
        replica = "" if peers is None else peers.name
        self._writer = LinkWriter(store, ca, registry, self._claims, terms=terms, clock=clock, replica=replica)
        self._recorder = LinkRecorder(store, registry, self._claims, self._writer, clock=clock, replica=replica)
        self._answers = LateAnswers(urgency)
        self._health = LinkHealthWriter(store, self._answers, urgency=urgency)
        self._verdicts = LinkVerdicts(store, grace_seconds=terms.verdict_seconds, clock=clock)
        elsewhere = (
            None
            if peers is None
            else LinkElsewhere(store, registry, self._claims, name=peers.name, is_there=peers.is_there)
        )
        self._dispatch = LinkDispatch(
            store, feed, registry, self._writer, policies, clock=clock, replica=replica, elsewhere=elsewhere
        )
        self._lease = LinkLease(store, registry, clock=clock, terms=terms)
        self._presence = LinkPresence(
            store,
            registry,
            peers,
            self._admission,
            self._lease,
            clock=clock,
            terms=terms,
            superseded=self._send_away,
            counted=self._terms_now,
        )

    async def start(self) -> None:
        """Load who owns which GPU and how long hosts may be silent; forget the links of an earlier control plane.

        Raises Unavailable.
        """

        def load(tx: Tx) -> None:
            if self._peers is None:
                nodes.disconnect_all(tx)
            else:
                link_holders.drop(tx, self._peers.name)
            self._claims.load(gpu_briefs.uuids(tx))

        await self._store.write(load)
        await self._lease.count()
        self._terms_now()
        if self._peers is None:
            await self._lease.look_back()

    async def run(self) -> None:
        """Run the loops until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._writer.run())
            tasks.create_task(self._health.run())
            tasks.create_task(self._answers.run())
            tasks.create_task(self._dispatch.run())
            tasks.create_task(self._presence.run())
            tasks.create_task(self._end_silent())
            if self._peers is None:
                tasks.create_task(self._verdicts.run())

    async def _end_silent(self) -> None:
        """End streams of which nothing has come for a lease, or that are not read, also those that were replaced.

        One look at all of them instead of a timer for each.
        """
        loop, pause = asyncio.get_running_loop(), self._terms.lease_seconds * _SILENCE_LOOKS
        while True:
            before = loop.time()
            await asyncio.sleep(pause)
            end_silent(tuple(self._sessions), pause_seconds=pause, before=before, now=loop.time())

    async def _send_away(self) -> None:
        if not self._closing:
            await self.close()

    async def close(self) -> None:
        """Take no more streams and end those that are open; hosts come back to whoever answers next."""
        self._closing = True
        for link in self.registry.links():
            link.end("the control plane is stopping", retry_after_seconds=1.0)

    async def serve(
        self, principal: NodePrincipal, requests: Requests, context: Context
    ) -> AsyncGenerator[node_link_pb2.ConnectResponse, None]:
        """Speak on one stream until it ends. Raises PermissionDenied for a node that may not connect."""
        terms = self._terms_now()
        try:
            session, results = await self._open(principal, requests, terms)
        except Rejected as rejected:
            yield rejected.message
            return
        self._sessions.add(session)
        try:
            # Not by yielding it: it would be kept for as long as the stream lasts.
            await hand_over(context, self._welcome(session, terms), first=True)
            session.welcomed = True
            await self._writer.acknowledge(session, results)
            del results
            self._dispatch.refresh(session.node_id)
            await LinkStream(session, requests, context).run()
        finally:
            self._forget(session)

    def _terms_now(self) -> LinkTerms:
        """Return the terms of a stream that begins now; one object for all of them, until the fleet has grown."""
        among = self._terms.among(self.registry.hosts)
        if among.lease_seconds > self._among.lease_seconds:
            self._among = among
        self.registry.note_lease(self._among.lease_seconds, in_charge_seconds=self._terms.lease_seconds)
        return self._among

    def _welcome(self, session: LinkSession, terms: LinkTerms) -> node_link_pb2.ConnectResponse:
        link_servers = () if self._peers is None else self._peers.link_servers()
        nats_servers = tuple(self._nats_servers())
        return terms.welcome(
            session.node_id,
            session.control_epoch,
            nats_servers,
            self._clock.now(),
            link_servers,
            hosts=self.registry.hosts,
        )

    async def _open(
        self, principal: NodePrincipal, requests: Requests, terms: LinkTerms
    ) -> tuple[LinkSession, list[Settled]]:
        if self._closing:
            raise Rejected("the control plane is stopping", retry_after_seconds=1.0)
        if not self.registry.may_open(principal.node_id):
            await hello(requests, self._terms.hello_seconds)
            raise Rejected("this node opens too many streams", retry_after_seconds=TRY_LATER_SECONDS)
        greeted = await hello(requests, self._terms.hello_seconds)
        try:
            async with self._admission.turn(principal.node_id):
                return await self._greet(principal, greeted, terms)
        except PutOff as put_off:
            counted = self.registry.counted_seconds_ago(principal.node_id, greeted.inventory.boot_id)
            put_off.let_jobs_run(self._terms.fence_of(counted))
            raise

    async def _greet(
        self, principal: NodePrincipal, greeted: node_link_pb2.Hello, terms: LinkTerms
    ) -> tuple[LinkSession, list[Settled]]:
        # Told as a status, so that a host without rights learns nothing by keeping a stream open.
        allowed, epoch, holder = await self._store.read(lambda tx: self._standing(tx, principal))
        if not allowed:
            raise PermissionDenied(
                "this node was revoked, or its certificate was replaced by a newer one: join the host again with a "
                "fresh join token",
                reason="NODE_NOT_ALLOWED",
            )
        greeting = checked(principal, greeted, epoch=epoch, now=self._clock.now())
        await self._refuse_rival(principal, greeting.inventory.boot_id, holder, terms)
        session = LinkSession(
            principal,
            greeting.inventory.boot_id,
            clock=self._clock,
            terms=terms,
            registry=self.registry,
            answers=self._answers,
            changed=self._writer.changed,
            health_changed=self._health.changed,
        )
        session.health.begin(greeting.host_time)
        session.told_of = {(AllocationId(allocation_id), rank) for allocation_id, rank in greeting.members}
        self.registry.add(session)
        try:
            return session, await self._recorder.record(session, greeting)
        except BaseException:
            self._forget(session)
            raise

    def _standing(self, tx: Tx, principal: NodePrincipal) -> tuple[bool, int, str]:
        """Return whether the node may connect, the epoch of its orders, and which replica holds its link."""
        holder = "" if self._peers is None else link_holders.holder(tx, principal.node_id)
        allowed = nodes.is_allowed(tx, principal.node_id, principal.serial)
        return allowed, self._store.epoch_of_orders(tx), holder

    async def _refuse_rival(self, principal: NodePrincipal, boot_id: str, holder: str, terms: LinkTerms) -> None:
        alive_seconds = terms.alive_seconds_of(self.registry.hosts)
        rival = self.registry.rival(principal.node_id, boot_id, alive_seconds=alive_seconds)
        if rival is not None:
            ask_for_a_sign(self.registry.link(principal.node_id))
        elif self._peers is not None:
            rival = await self._peers.rival(holder, principal.node_id, boot_id)
        if rival is None:
            return
        log.warning("link.rival", node_id=principal.node_id, why=rival.why, may_be_left=rival.may_be_left)
        if rival.may_be_left:
            raise Rejected(
                f"{rival.why}, or this host has left a stream behind that may still be alive",
                retry_after_seconds=min(_ASK_AGAIN_SECONDS, terms.lease_seconds),
            )
        if self.registry.first_rival(principal.node_id):
            await self._store.write(partial(record_rival, node_id=principal.node_id, why=rival.why))
        raise Rejected(
            f"{rival.why}. If this host was cloned, give it an identity of its own: `orquanta-node join --force` with "
            "a fresh join token",
            retry_after_seconds=terms.lease_seconds,
        )

    def _forget(self, session: LinkSession) -> None:
        session.outbox.end()
        self._sessions.discard(session)
        if self.registry.remove(session):
            log.info("link.down", node_id=session.node_id)
            self._writer.gone(session.node_id)
