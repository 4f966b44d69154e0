"""Writes what hosts say into the store: many reports of many hosts in one transaction, then the acknowledgements."""

import asyncio
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.governor import books, hosts
from control_plane.identity.ca import CertificateAuthority
from control_plane.model.ids import NodeId
from control_plane.model.report import MemberReport
from control_plane.services.link_books import Settled, settle
from control_plane.services.link_claims import GpuClaims
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession
from control_plane.services.link_terms import LinkTerms
from control_plane.store import audit, link_holders, nodes
from control_plane.store.database import Store, Tx

log = structlog.get_logger()

_REPORTS_PER_WRITE: Final = 256
_REPORTS_OF_ONE_HOST: Final = 64  # in one write, so that no host holds up the others
_LEFTOVERS_MAX: Final = 4096
"""Members that one host may run though the books have given them up."""

_TRY_LATER_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Reports of one host that are written together."""

    session: LinkSession
    reports: tuple[MemberReport, ...]
    audit_foreign: bool


class LinkWriter:
    """The one loop that writes for all links; `run` it in a task group. `replica`: the name of ours, if we are one."""

    def __init__(
        self,
        store: Store,
        ca: CertificateAuthority,
        registry: LinkRegistry,
        claims: GpuClaims,
        *,
        terms: LinkTerms,
        clock: Clock,
        replica: str = "",
    ) -> None:
        self._store = store
        self._replica = replica
        self._ca = ca
        self._registry = registry
        self._claims = claims
        self._terms = terms
        self._clock = clock
        self._changed: dict[LinkSession, None] = {}
        self._gone: dict[NodeId, None] = {}
        self._wake = asyncio.Event()
        self._audited: set[NodeId] = set()
        self._foreign: dict[NodeId, frozenset[str]] = {}

    def changed(self, session: LinkSession) -> None:
        """Take note that a session has something to be written."""
        self._changed[session] = None
        self._wake.set()

    def gone(self, node_id: NodeId) -> None:
        """Take note that a node's link is down."""
        self._gone[node_id] = None
        self._wake.set()

    def forget(self, node_id: NodeId) -> None:
        """Drop what is known of a node that left the fleet."""
        self._audited.discard(node_id)
        self._foreign.pop(node_id, None)
        self._claims.release(node_id)

    def is_audited(self, node_id: NodeId) -> bool:
        """Return whether it is on record already that the node reports about what is not its own."""
        return node_id in self._audited

    def is_news(self, node_id: NodeId, foreign_gpus: Collection[str]) -> bool:
        """Return whether these are other GPUs of others than those that the node claimed before."""
        return self._foreign.get(node_id, frozenset()) != frozenset(foreign_gpus)

    def note_foreign(self, node_id: NodeId, foreign_gpus: Collection[str]) -> None:
        """Take note that it is on record which GPUs of others the node claims."""
        self._foreign[node_id] = frozenset(foreign_gpus)

    async def run(self) -> None:
        """Write until cancelled; while the store is away, what hosts say waits, newest first."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._write_all()
            except Unavailable as error:
                log.warning("link.writes_wait", why=error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                self._wake.set()
            else:
                pause = _FIRST_PAUSE_SECONDS

    async def _write_all(self) -> None:
        """One round: each host gets its turn, however much another one says. Raises Unavailable."""
        while self._gone:
            node_id = next(iter(self._gone))
            await self._safely(node_id, self._disconnect(node_id))
            del self._gone[node_id]
        batches = self._next_batches()
        if batches:
            try:
                await self._write_reports(batches)
            except Unavailable:
                for batch in batches:
                    _put_back(batch)
                raise
        for session in list(self._changed):
            await self._write_rest(session)
            del self._changed[session]
            if session.reports or session.fresh_inventory is not None or session.signing_request:
                self.changed(session)  # and to the end of the line

    async def _write_rest(self, session: LinkSession) -> None:
        """Write what is no report. Raises Unavailable."""
        inventory = session.fresh_inventory
        if inventory is not None:
            await self._safely(session.node_id, self._write_inventory(session))
            if session.fresh_inventory is inventory:
                session.fresh_inventory = None  # it cannot be written, ever: trying again would never end
        if session.signing_request:
            await self._safely(session.node_id, self._renew(session))
        if session.never_started:
            await self._safely(session.node_id, self._end_withdrawn(session))

    async def _safely(self, node_id: NodeId, action: Awaitable[None]) -> None:
        """One host's trouble is not that of the others. Raises Unavailable only."""
        try:
            await action
        except Unavailable:
            raise
        except Exception:
            log.exception("link.write_failed", node_id=node_id)

    def _next_batches(self) -> list[_Batch]:
        batches: list[_Batch] = []
        room = _REPORTS_PER_WRITE
        for session in self._changed:
            if session.reports and room > 0:
                keys = list(session.reports)[: min(_REPORTS_OF_ONE_HOST, room)]
                reports = tuple(session.reports.pop(key) for key in keys)
                batches.append(_Batch(session, reports, session.node_id not in self._audited))
                room -= len(reports)
        return batches

    async def _write_reports(self, batches: list[_Batch]) -> None:
        def write(tx: Tx) -> list[list[Settled]]:
            return [settle(tx, b.session.node_id, b.reports, audit_foreign=b.audit_foreign) for b in batches]

        try:
            settled = await self._store.write(write)
        except Unavailable:
            raise
        except Exception:
            log.exception("link.reports_failed_together", reports=sum(len(batch.reports) for batch in batches))
            settled = [await self.settle_one_by_one(batch.session.node_id, batch.reports) for batch in batches]
        for batch, results in zip(batches, settled, strict=True):
            await self.acknowledge(batch.session, results)

    async def settle_one_by_one(self, node_id: NodeId, reports: tuple[MemberReport, ...]) -> list[Settled]:
        """Take each report in a transaction of its own: one that the books cannot take does not keep the others out.

        Raises Unavailable.
        """
        settled: list[Settled] = []
        for report in reports:
            try:
                settled += await self._store.write(
                    partial(settle, node_id=node_id, reports=(report,), audit_foreign=False)
                )
            except Unavailable:
                raise
            except Exception:
                log.exception("link.report_failed", node_id=node_id, allocation_id=report.allocation_id)
        return settled

    async def acknowledge(self, session: LinkSession, results: list[Settled]) -> None:
        """Answer what is in the books now, and put a host into service whose last leftover has ended."""
        had_leftovers = len(session.leftovers)
        for result in results:
            if result.foreign:
                self._audited.add(session.node_id)
            if result.leftover:
                session.leftovers.add(result.key)
            else:
                session.leftovers.discard(result.key)
            if result.ack:
                session.outbox.put_report_ack(*result.key)
        if len(session.leftovers) > _LEFTOVERS_MAX:
            session.end("it runs more than it can have been asked to", retry_after_seconds=_TRY_LATER_SECONDS)
        elif session.welcomed and bool(session.leftovers) != bool(had_leftovers) and session.inventory is not None:
            session.state_changed(session.fresh_inventory or session.inventory)

    async def _write_inventory(self, session: LinkSession) -> None:
        inventory = session.fresh_inventory
        if inventory is None or self._registry.link(session.node_id) is not session:
            session.fresh_inventory = None
            return
        own, foreign = self._claims.claim(session.node_id, inventory)
        leftovers = len(session.leftovers)
        is_news = self.is_news(session.node_id, foreign)

        def write(tx: Tx) -> None:
            hosts.node_connected(tx, session.node_id, own, zombies=leftovers)
            if is_news:
                record_foreign_gpus(tx, session.node_id, foreign)

        await self._store.write(write)
        self.note_foreign(session.node_id, foreign)
        session.inventory = own
        if session.fresh_inventory is inventory:
            session.fresh_inventory = None

    async def _end_withdrawn(self, session: LinkSession) -> None:
        members = session.never_started
        await self._store.write(partial(books.never_started, node_id=session.node_id, members=members))
        session.never_started -= members

    async def _renew(self, session: LinkSession) -> None:
        request, session.signing_request = session.signing_request, b""
        try:
            issued = await asyncio.to_thread(
                self._ca.sign_node_csr, request, session.node_id, lifetime=self._terms.certificate_lifetime
            )
        except OrQuantaError as error:
            log.warning("link.renewal_refused", node_id=session.node_id, why=error.message)
            return

        def write(tx: Tx) -> bool:
            node = nodes.get(tx, session.node_id)
            in_use = session.principal.serial
            if node is None or not nodes.is_allowed(tx, session.node_id, in_use):
                return False
            if node.certificate_serial != in_use:
                # The last renewal never reached the host: what it uses is what has to stay good.
                nodes.renew_certificate(tx, session.node_id, in_use, node.certificate_expires_at)
            nodes.renew_certificate(tx, session.node_id, issued.serial, issued.not_after)
            return True

        try:
            allowed = await self._store.write(write)
        except Unavailable:
            session.signing_request = session.signing_request or request
            raise
        if allowed:
            log.info("link.certificate_renewed", node_id=session.node_id, expires_at=issued.not_after.isoformat())
            session.outbox.put_certificate(issued.certificate_pem)

    async def _disconnect(self, node_id: NodeId) -> None:
        def write(tx: Tx) -> None:
            if self._registry.connected(node_id):
                return
            if not self._replica or link_holders.release(tx, node_id, self._replica):
                hosts.node_disconnected(tx, node_id)

        await self._store.write(write)


def record_foreign_gpus(tx: Tx, node_id: NodeId, gpu_uuids: tuple[str, ...]) -> None:
    """Leave a record that a node claims GPUs which belong to others; they are left out of its inventory."""
    if gpu_uuids:
        audit.append(
            tx,
            agent_name="node-link",
            action="inventory.correct",
            reasoning="the node reports GPUs that belong to another node; if they were moved, revoke the node they "
            "came from or start its daemon without them",
            outcome="corrected",
            payload={"gpu_uuids": list(gpu_uuids)},
            node_id=node_id,
        )


def _put_back(batch: _Batch) -> None:
    """What the host has said meanwhile is newer and stays."""
    for report in batch.reports:
        batch.session.reports.setdefault((report.allocation_id, report.rank), report)
