"""The link that never gives up: connect, obey, renew, connect again."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NoReturn

import grpc
import structlog

from node_agent.clock import Clock
from node_agent.errors import LinkRefused, StateUnusable, only_agent_error
from node_agent.link import renewal
from node_agent.link.certificate import CertificateRejected
from node_agent.link.epoch import ControlEpoch
from node_agent.link.host import BootClock, Host, Records
from node_agent.link.identity import Identity, IdentityStore
from node_agent.link.line import Line
from node_agent.link.newest import Newest
from node_agent.link.servers import LinkServers
from node_agent.link.session import Session, SessionParts, Terms
from node_agent.link.stream_end import StreamEnd
from node_agent.link.tls import Address, client_context, find_fault
from orquanta.v1 import node_link_pb2, node_link_pb2_grpc, node_pb2, repair_pb2

log = structlog.get_logger()

_CERTIFICATE_SECONDS = 30.0  # for the control plane to answer a signing request
_RENEWAL_RETRY_SECONDS = 60.0
_RENEWAL_CHECK_SECONDS = 60.0  # the wall clock may be set while the daemon sleeps
_CLOCK_OFF_SECONDS = 60.0
_OBEY_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the link is, for people."""

    connected: bool = False
    server: str = ""
    reason: str = "not tried yet"
    """Why it is not connected; empty if it is."""
    clock_ahead_seconds: float = 0.0


class NodeLink:
    """Keeps one stream to one of the link servers."""

    def __init__(
        self,
        *,
        identities: IdentityStore,
        identity: Identity,
        host: Host,
        records: Records,
        epoch: ControlEpoch,
        clock: Clock,
        boot_clock: BootClock,
        on_status: Callable[[LinkStatus], None],
        on_identity: Callable[[Identity], None],
    ) -> None:
        self._identities = identities
        self._identity = identity
        self._host = host
        self._records = records
        self._epoch = epoch
        self._clock = clock
        self._boot_clock = boot_clock
        self._on_status = on_status
        self._on_identity = on_identity
        self._status = LinkStatus()
        self._line = Line()
        self._servers = LinkServers(identity.node_id, identity.link_servers)
        self._told: Newest[tuple[str, ...]] = Newest()
        self._renewed = False
        self._session: Session | None = None
        self._up = asyncio.Event()
        self._orders: Newest[node_link_pb2.DesiredState] = Newest()
        self._instructions: Newest[node_link_pb2.DesiredState] = Newest()
        self._streams = 0
        self._certificates: Newest[bytes] = Newest()

    @property
    def identity(self) -> Identity:
        """Who the node is at this moment."""
        return self._identity

    @property
    def status(self) -> LinkStatus:
        """How the link is at this moment."""
        return self._status

    def member_changed(self, report: node_link_pb2.MemberReport) -> None:
        """Tell the control plane at once; without a stream it is in the next Hello."""
        if self._session is not None:
            self._session.outbox.put_report(report)

    def inventory_changed(self, inventory: node_pb2.HostInventory) -> None:
        """Tell the control plane that the hardware changed."""
        if self._session is not None:
            self._session.outbox.put_inventory(inventory)

    def repair_changed(self, report: repair_pb2.RepairReport) -> None:
        """Tell the control plane at once how a repair stands; without a stream it is in the next Hello."""
        if self._session is not None:
            self._session.outbox.put_repair(report)

    async def run(self) -> NoReturn:
        """Stay linked until cancelled; raises LinkRefused when the control plane does not want the node back."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stay_connected())
                group.create_task(self._obey())
                group.create_task(self._heed())
                group.create_task(self._renew())
                group.create_task(self._learn())
        except BaseExceptionGroup as failures:
            error = only_agent_error(failures)
            if error is None:
                raise
            raise error from None
        raise AssertionError("the link's tasks end by raising")

    async def _stay_connected(self) -> NoReturn:
        try:
            await self._connect_again_and_again()
        finally:
            await self._line.close()

    async def _connect_again_and_again(self) -> NoReturn:
        while True:
            server = self._servers.current
            began = self._clock.monotonic()
            end, welcomed = await self._connect(Address.parse(server))
            lived_seconds = self._clock.monotonic() - began if welcomed else 0.0
            self._note(replace(self._status, connected=False, server=server, reason=end.reason))
            if end.permanent:
                raise LinkRefused(
                    f"The control plane does not want this node back: {end.reason}. Jobs that still run here stop "
                    "when their fence passes. To return, join again with a fresh token and --force."
                )
            stay = welcomed and end.is_word and not end.retry_after_seconds
            pause = self._servers.ended(welcomed=welcomed, lived_seconds=lived_seconds, stay=stay)
            if self._renewed:
                self._renewed = False
                self._servers.start_over()
            await asyncio.sleep(end.retry_after_seconds or pause)

    async def _connect(self, server: Address) -> tuple[StreamEnd, bool]:
        """Speak on one stream; return why it ended and whether it ever was up."""
        self._streams += 1
        self._orders.clear()
        self._instructions.clear()
        session = Session(
            SessionParts(
                node_id=self._identity.node_id,
                host=self._host,
                records=self._records,
                epoch=self._epoch,
                clock=self._clock,
                boot_clock=self._boot_clock,
                orders=self._orders,
                instructions=self._instructions,
                certificates=self._certificates,
                has_other_servers=lambda: len(self._servers.known) > 1,
                on_up=lambda terms: self._note_up(server, terms),
            )
        )
        keep = False
        try:
            channel = await self._line.to(server, self._identity)
            self._session = session
            end = await session.run(node_link_pb2_grpc.NodeLinkServiceStub(channel).Connect())
            keep = end.is_put_off and session.terms is None
        except OSError as error:
            end = StreamEnd(f"the identity cannot be read: {error}")
        finally:
            self._session = None
            self._up.clear()
            if not keep:
                await self._line.close()
        if session.terms is None and end.code is grpc.StatusCode.UNAVAILABLE:
            end = await self._explain(server, end)
        return end, session.terms is not None

    async def _explain(self, server: Address, end: StreamEnd) -> StreamEnd:
        """Replace gRPC's words for a failed connection by what a person can act on."""
        if self._identity.certificate.clock_error(self._clock.now()) > timedelta():
            return StreamEnd(
                f"this node's certificate ran out on {self._identity.certificate.not_after:%Y-%m-%d %H:%M} UTC; "
                "check the clock, or join again with a fresh token and --force"
            )
        with contextlib.suppress(OSError):
            fault = await find_fault(server, client_context(self._identity))
            if fault is not None:
                return StreamEnd(str(fault))
        return end

    def _note_up(self, server: Address, terms: Terms) -> None:
        self._up.set()
        if abs(terms.clock_ahead_seconds) > _CLOCK_OFF_SECONDS:
            log.error("link.clock_off", ahead_seconds=round(terms.clock_ahead_seconds, 1), todo="set the clock")
        self._note(
            LinkStatus(
                connected=True,
                server=str(server),
                reason="",
                clock_ahead_seconds=terms.clock_ahead_seconds,
            )
        )
        self._host.use_nats(terms.nats_servers)
        self._told.put(terms.link_servers)

    def _note(self, status: LinkStatus) -> None:
        if status == self._status:
            return  # the same failure every five seconds is one line in the log
        self._status = status
        if status.connected:
            log.info("link.up", server=status.server, node_id=self._identity.node_id)
        else:
            log.warning("link.down", server=status.server, reason=status.reason)
        self._on_status(status)

    async def _obey(self) -> NoReturn:
        """Converge to the newest order; apart from the stream, so that neither ever waits for the other.

        An order holds for its stream alone: what it asks for may run elsewhere by the time of the next.
        """
        order, stream = await self._orders.take(), self._streams
        while True:
            try:
                await self._host.converge(order.members, order.stops)
            except Exception:
                log.exception("link.converge_failed", revision=order.revision)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_OBEY_RETRY_SECONDS):
                        order, stream = await self._orders.take(), self._streams
                if stream == self._streams:
                    continue
            order, stream = await self._orders.take(), self._streams

    async def _heed(self) -> NoReturn:
        """Hand on what orders say beside their members, apart from the jobs, which may take long."""
        while True:
            order = await self._instructions.take()
            try:
                await self._host.heed(order)
            except Exception:
                log.exception("link.order_failed", revision=order.revision)

    async def _learn(self) -> NoReturn:
        """Remember the link servers that control planes tell, for when the one in use is gone."""
        while True:
            if not self._servers.learn(await self._told.take()):
                continue
            log.info("link.servers_changed", servers=self._servers.known)
            self._identity = replace(self._identity, link_servers=self._servers.known)
            try:
                await asyncio.to_thread(self._identities.remember_servers, self._identity)
            except StateUnusable as error:
                log.error("link.servers_not_stored", reason=str(error))  # noqa: TRY400 - the reason is whole

    async def _renew(self) -> NoReturn:
        while True:
            left = self._identity.certificate.renewal_due_at() - self._clock.now()
            if left > timedelta():
                await asyncio.sleep(min(_RENEWAL_CHECK_SECONDS, left.total_seconds()))
                continue
            await self._up.wait()
            try:
                await self._renew_once()
            except (CertificateRejected, StateUnusable, TimeoutError, OSError) as error:
                log.error("link.renewal_failed", reason=str(error) or "no answer in time")  # noqa: TRY400 - the reason is whole
                await asyncio.sleep(_RENEWAL_RETRY_SECONDS)

    async def _renew_once(self) -> None:
        request = await renewal.make_request(self._identities)
        self._certificates.clear()
        if self._session is None:
            return
        self._session.outbox.put_signing_request(request)
        async with asyncio.timeout(_CERTIFICATE_SECONDS):
            chain = await self._certificates.take()
        self._identity = await renewal.accept(self._identities, self._identity, chain)
        log.info("link.certificate_renewed", not_after=self._identity.certificate.not_after.isoformat())
        self._on_identity(self._identity)
        self._renewed = True
        if self._session is not None:
            self._session.close("the certificate was renewed")
