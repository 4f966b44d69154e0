"""The control plane's side of all links: accepts streams and runs the loops behind them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from control_plane.clock import Clock
from control_plane.errors import InvalidArgument, OrQuantaError, PermissionDenied, Unavailable
from control_plane.governor import health, hosts, repairs
from control_plane.identity.ca import CertificateAuthority
from control_plane.model.health import Condition
from control_plane.model.identity import NodePrincipal
from control_plane.model.ids import AllocationId
from control_plane.model.job import AllocationState
from control_plane.model.node import HostInventory
from control_plane.model.repair import RepairReport
from control_plane.model.report import MemberReport
from control_plane.services.feed import EventFeed
from control_plane.services.link_books import Settled, settle
from control_plane.services.link_claims import GpuClaims
from control_plane.services.link_dispatch import LinkDispatch
from control_plane.services.link_health import read_conditions, read_repair_report
from control_plane.services.link_health_writer import LinkHealthWriter
from control_plane.services.link_policy import LocalPolicies
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession
from control_plane.services.link_terms import LinkTerms, farewell
from control_plane.services.link_verdicts import LinkVerdicts
from control_plane.services.link_wire import read_inventory, read_report, read_time
from control_plane.services.link_writer import LinkWriter, record_foreign_gpus
from control_plane.store import audit, nodes
from control_plane.store.database import Store, Tx
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

_MEMBERS_MAX: Final = 4096
"""Members in one Hello; a host forgets those that were acknowledged."""

_CLOCK_OFF_SECONDS: Final = 300.0
_TRY_LATER_SECONDS: Final = 10.0
_SUPERSEDED: Final = "CONTROL_PLANE_SUPERSEDED"

Requests = AsyncIterator[node_link_pb2.ConnectRequest]


@dataclass(frozen=True, slots=True)
class _Greeting:
    """A Hello whose form was checked."""

    inventory: HostInventory
    reports: tuple[MemberReport, ...]
    members: frozenset[tuple[str, int]]
    """Every member that the host spoke of, in a report that can be read or not."""
    conditions: tuple[Condition, ...]
    repair: RepairReport | None
    host_time: datetime | None


class _Rejected(Exception):
    """The stream is not accepted; its last and only message says why."""

    def __init__(self, reason: str, *, permanent: bool = False, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.message = node_link_pb2.ConnectResponse(
            disconnect=farewell(reason, permanent=permanent, retry_after_seconds=retry_after_seconds)
        )


class NodeLinks:
    """Every link of this control plane. `start`, then `run` in a task group; `close` before the server stops.

    `nats_servers` gives the broker's URLs that hosts are told, `policies` what each may do while its link is down.
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
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms
        self._nats_servers = nats_servers
        self._closing = False
        self._claims = GpuClaims()
        self.registry = registry
        self._writer = LinkWriter(store, ca, registry, self._claims, terms=terms, clock=clock)
        self._health = LinkHealthWriter(store)
        self._verdicts = LinkVerdicts(store, grace_seconds=terms.verdict_seconds, clock=clock)
        self._dispatch = LinkDispatch(store, feed, registry, self._writer, policies, clock=clock)

    async def start(self) -> None:
        """Load who owns which GPU, and forget the links of an earlier control plane. Raises Unavailable."""

        def load(tx: Tx) -> None:
            nodes.disconnect_all(tx)
            self._claims.load(nodes.active(tx))

        await self._store.write(load)

    async def run(self) -> None:
        """Run the loops until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._writer.run())
            tasks.create_task(self._health.run())
            tasks.create_task(self._verdicts.run())
            tasks.create_task(self._dispatch.run())
            tasks.create_task(self._flush())
            tasks.create_task(self._stay_in_charge())

    async def close(self) -> None:
        """Take no more streams and end those that are open; hosts come back to whoever answers next."""
        self._closing = True
        for link in self.registry.links():
            link.end("the control plane is stopping", retry_after_seconds=1.0)

    async def serve(
        self, principal: NodePrincipal, requests: Requests
    ) -> AsyncGenerator[node_link_pb2.ConnectResponse, None]:
        """Speak on one stream until it ends. Raises PermissionDenied for a node that may not connect."""
        try:
            session, results = await self._open(principal, requests)
        except _Rejected as rejected:
            yield rejected.message
            return
        try:
            async with _listening(session, requests):
                nats_servers = tuple(self._nats_servers())
                yield self._terms.welcome(session.node_id, self._store.control_epoch, nats_servers, self._clock.now())
                session.welcomed = True
                await self._writer.acknowledge(session, results)
                self._dispatch.refresh(session.node_id)
                while responses := await session.outbox.take():
                    for response in responses:
                        yield response
        finally:
            self._forget(session)

    async def _open(self, principal: NodePrincipal, requests: Requests) -> tuple[LinkSession, list[Settled]]:
        if self._closing:
            raise _Rejected("the control plane is stopping", retry_after_seconds=1.0)
        if not self.registry.may_open(principal.node_id):
            await self._hello(requests)
            raise _Rejected("this node opens too many streams", retry_after_seconds=_TRY_LATER_SECONDS)
        hello = await self._hello(requests)
        # Told as a status, so that a host without rights learns nothing by keeping a stream open.
        if not await self._store.read(lambda tx: nodes.is_allowed(tx, principal.node_id, principal.serial)):
            raise PermissionDenied(
                "this node was revoked, or its certificate was replaced by a newer one: join the host again with a "
                "fresh join token",
                reason="NODE_NOT_ALLOWED",
            )
        greeting = self._checked(principal, hello)
        await self._refuse_rival(principal, greeting.inventory.boot_id)
        session = LinkSession(
            principal,
            greeting.inventory.boot_id,
            clock=self._clock,
            terms=self._terms,
            registry=self.registry,
            changed=self._writer.changed,
            health_changed=self._health.changed,
        )
        session.health.begin(greeting.host_time)
        session.told_of = {(AllocationId(allocation_id), rank) for allocation_id, rank in greeting.members}
        self.registry.add(session)
        try:
            return session, await self._record(session, greeting)
        except BaseException:
            self._forget(session)
            raise

    async def _hello(self, requests: Requests) -> node_link_pb2.Hello:
        # Read even of a host that is then refused: a stream that ends while its host still speaks may lose the reason.
        try:
            async with asyncio.timeout(self._terms.hello_seconds):
                request = await anext(requests)
        except (TimeoutError, StopAsyncIteration):
            raise _Rejected(f"no Hello within {self._terms.hello_seconds:g} seconds") from None
        except DecodeError:
            raise _Rejected("what was received cannot be read", retry_after_seconds=_TRY_LATER_SECONDS) from None
        if request.WhichOneof("message") != "hello":
            raise _Rejected("the first message must be Hello", retry_after_seconds=_TRY_LATER_SECONDS)
        return request.hello

    def _checked(self, principal: NodePrincipal, hello: node_link_pb2.Hello) -> _Greeting:
        if hello.control_epoch > self._store.control_epoch:
            raise _Rejected(
                f"this host obeys a control plane of epoch {hello.control_epoch}; this one is of the older epoch "
                f"{self._store.control_epoch}",
                retry_after_seconds=_TRY_LATER_SECONDS,
            )
        if len(hello.members) > _MEMBERS_MAX:
            raise _Rejected(
                f"{len(hello.members)} members; at most {_MEMBERS_MAX}", retry_after_seconds=_TRY_LATER_SECONDS
            )
        now = self._clock.now()
        host_time = read_time(hello.host_time)
        if host_time is not None and abs((host_time - now).total_seconds()) > _CLOCK_OFF_SECONDS:
            log.warning("link.host_clock_off", node_id=principal.node_id, off_seconds=(host_time - now).total_seconds())
        try:
            inventory = read_inventory(hello.inventory)
        except InvalidArgument as error:
            raise _Rejected(error.message, retry_after_seconds=_TRY_LATER_SECONDS) from None
        reports = []
        for wire in hello.members:
            try:
                reports.append(read_report(wire, now))
            except InvalidArgument as error:
                log.warning("link.report_refused", node_id=principal.node_id, why=error.message)
        members = frozenset((wire.allocation_id, wire.rank) for wire in hello.members)
        conditions, repair = self._checked_health(principal, hello)
        return _Greeting(inventory, tuple(reports), members, conditions, repair, host_time)

    def _checked_health(
        self, principal: NodePrincipal, hello: node_link_pb2.Hello
    ) -> tuple[tuple[Condition, ...], RepairReport | None]:
        now = self._clock.now()
        conditions, refused = read_conditions(hello.conditions, now)
        if refused:
            log.warning("link.conditions_refused", node_id=principal.node_id, conditions=refused)
        repair = None
        if hello.HasField("repair"):
            try:
                repair = read_repair_report(hello.repair, now)
            except InvalidArgument as error:
                log.warning("link.repair_refused", node_id=principal.node_id, why=error.message)
        return conditions, repair

    async def _refuse_rival(self, principal: NodePrincipal, boot_id: str) -> None:
        why = self.registry.rival(principal.node_id, boot_id, alive_seconds=self._terms.alive_seconds)
        if not why:
            return
        log.warning("link.rival", node_id=principal.node_id, why=why)

        def record(tx: Tx) -> None:
            audit.append(
                tx,
                agent_name="node-link",
                action="link.refuse",
                reasoning=f"{why}; its key may have been copied: revoke the node and join the host again",
                outcome="refused",
                node_id=principal.node_id,
            )

        if self.registry.first_rival(principal.node_id):
            await self._store.write(record)
        raise _Rejected(
            f"{why}. If this host was cloned, give it an identity of its own: `orquanta-node join --force` with a "
            "fresh join token",
            retry_after_seconds=self._terms.lease_seconds,
        )

    async def _record(self, session: LinkSession, greeting: _Greeting) -> list[Settled]:
        """Take a host's full state into the books: what it runs, what has ended, what it is made of."""
        own, foreign = self._claims.claim(session.node_id, greeting.inventory)
        principal = session.principal
        is_news = self._writer.is_news(session.node_id, foreign)
        audit_foreign = not self._writer.is_audited(session.node_id)

        def write(tx: Tx, settled: list[Settled] | None = None) -> list[Settled]:
            if not nodes.is_allowed(tx, principal.node_id, principal.serial):
                raise PermissionDenied("this node was revoked meanwhile", reason="NODE_NOT_ALLOWED")
            results = settled
            if results is None:
                results = settle(tx, principal.node_id, greeting.reports, audit_foreign=audit_foreign)
            leftovers = sum(result.leftover for result in results)
            hosts.node_connected(tx, principal.node_id, own, zombies=leftovers)
            if is_news:
                record_foreign_gpus(tx, principal.node_id, foreign)
            health.reconcile(tx, principal.node_id, greeting.conditions)
            if greeting.repair is not None:
                repairs.apply_live_report(tx, principal.node_id, greeting.repair)
            repairs.note_reconnect(tx, principal.node_id)
            return results

        try:
            results = await self._store.write(write)
        except OrQuantaError:
            raise
        except Exception:
            log.exception("link.hello_failed_together", node_id=session.node_id, reports=len(greeting.reports))
            one_by_one = await self._writer.settle_one_by_one(session.node_id, greeting.reports)
            done = {result.key for result in one_by_one}
            one_by_one += [
                Settled((report.allocation_id, report.rank), ack=False, leftover=True)
                for report in greeting.reports
                if (report.allocation_id, report.rank) not in done and report.state is not AllocationState.ENDED
            ]
            results = await self._store.write(lambda tx: write(tx, one_by_one))
        self._writer.note_foreign(session.node_id, foreign)
        session.inventory = own
        session.leftovers = {result.key for result in results if result.leftover}
        log.info(
            "link.up",
            node_id=session.node_id,
            gpus=len(own.gpus),
            members=len(greeting.reports),
            leftovers=len(session.leftovers),
            foreign_gpus=len(foreign),
        )
        return results

    def _forget(self, session: LinkSession) -> None:
        session.outbox.end()
        if self.registry.remove(session):
            log.info("link.down", node_id=session.node_id)
            self._writer.gone(session.node_id)

    async def _flush(self) -> None:
        """Write when hosts were last heard, all in one statement."""
        while True:
            await asyncio.sleep(self._terms.flush_seconds)
            heard = self.registry.take_heard()
            if not heard:
                continue
            try:
                await self._store.write(partial(nodes.seen, node_ids=heard, at=self._clock.now()))
            except Unavailable:
                self.registry.give_back_heard(heard)

    async def _stay_in_charge(self) -> None:
        """Look several times in a lease whether another control plane has taken over; if so, send every host away."""
        pause = min(self._terms.flush_seconds, self._terms.lease_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            asked_at = self._clock.monotonic()
            try:
                await self._store.confirm()
            except Unavailable as error:
                if error.reason == _SUPERSEDED and not self._closing:
                    log.warning("link.superseded", why=error.message)
                    await self.close()
            else:
                self.registry.note_in_charge(asked_at)


@asynccontextmanager
async def _listening(session: LinkSession, requests: Requests) -> AsyncIterator[None]:
    """Listen while the block runs; the listener has ended when this does."""
    listener = asyncio.create_task(session.listen(requests), name=f"link {session.node_id}")
    try:
        yield
    finally:
        listener.cancel()
        await asyncio.wait([listener])
