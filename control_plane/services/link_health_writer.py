"""Writes what hosts say about their health: many hosts in one transaction, then the acknowledgements.

A loop of its own, so that a condition never waits behind the reports of jobs.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from control_plane.errors import Unavailable
from control_plane.governor import health, repairs
from control_plane.governor.health import Record, Taken
from control_plane.model.ids import NodeId
from control_plane.model.repair import RepairReport
from control_plane.services.link_session import LinkSession
from control_plane.store import audit
from control_plane.store.database import Store, Tx

log = structlog.get_logger()

_RECORDS_OF_ONE_HOST: Final = 200  # in one write, so that no host holds up the others
_RECORDS_PER_WRITE: Final = 1_000
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one host has said, to be written together."""

    session: LinkSession
    spool_id: str
    records: tuple[Record, ...]
    reports: tuple[RepairReport, ...]


class LinkHealthWriter:
    """The one loop that writes health for all links; `run` it in a task group."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: dict[LinkSession, None] = {}
        self._wake = asyncio.Event()
        self._audited: set[NodeId] = set()

    def changed(self, session: LinkSession) -> None:
        """Take note that a session has something to be written."""
        self._changed[session] = None
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled; while the store is away, what hosts say waits, bounded."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._changed:
                    await self._write()
            except Unavailable as error:
                log.warning("link.health_waits", why=error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                self._wake.set()
            else:
                pause = _FIRST_PAUSE_SECONDS

    async def _write(self) -> None:
        batches = self._next()
        try:
            taken = await self._store.write(lambda tx: [_take(tx, batch) for batch in batches])
        except Unavailable:
            for batch in batches:
                batch.session.health.give_back(batch.reports)
                self._changed[batch.session] = None
            raise
        except Exception:
            log.exception("link.health_failed_together", hosts=len(batches))
            for batch in batches:
                self._settle(batch, await self._write_one_by_one(batch))
            return
        for batch, one in zip(batches, taken, strict=True):
            self._settle(batch, one)

    def _next(self) -> list[_Batch]:
        batches: list[_Batch] = []
        room = _RECORDS_PER_WRITE
        for session in list(self._changed):
            if room <= 0:
                break
            inbox = session.health
            records = inbox.records(min(_RECORDS_OF_ONE_HOST, room))
            batches.append(_Batch(session, inbox.spool_id, records, inbox.take_repairs()))
            room -= len(records) + 1
            del self._changed[session]
        return batches

    async def _write_one_by_one(self, batch: _Batch) -> Taken | None:
        """Take each record in a transaction of its own: one that the books cannot take is left out, for good.

        Raises Unavailable.
        """
        node_id = batch.session.node_id
        parts = [_Batch(batch.session, batch.spool_id, (), (report,)) for report in batch.reports]
        parts += [_Batch(batch.session, batch.spool_id, (record,), ()) for record in batch.records]
        taken: Taken | None = None
        for part in parts:
            try:
                taken = await self._write_part(part) or taken
            except Unavailable:
                raise
            except Exception:
                log.exception("link.health_record_failed", node_id=node_id)
                if part.records:
                    record = part.records[0]
                    empty = Record(record.sequence, record.recorded_at, None)
                    taken = await self._write_part(_Batch(part.session, part.spool_id, (empty,), ()))
        return taken

    async def _write_part(self, part: _Batch) -> Taken | None:
        return await self._store.write(lambda tx: _take(tx, part))

    def _settle(self, batch: _Batch, taken: Taken | None) -> None:
        """Acknowledge what is in the books now."""
        session = batch.session
        session.health.written(len(batch.records))
        if taken is not None:
            if batch.records:
                session.outbox.put_spool_ack(batch.spool_id, taken.sequence)
            if taken.foreign and session.node_id not in self._audited:
                self._audited.add(session.node_id)
                log.warning("link.foreign_repair", node_id=session.node_id)
        if session.health.waiting:
            self.changed(session)  # and to the end of the line


def _take(tx: Tx, batch: _Batch) -> Taken | None:
    node_id = batch.session.node_id
    foreign = sum(repairs.apply_live_report(tx, node_id, report).foreign for report in batch.reports)
    taken = None
    if batch.records:
        taken = health.take(tx, node_id, batch.spool_id, batch.records, live_from=batch.session.health.live_from)
        foreign += taken.foreign
    if foreign:
        _audit_foreign(tx, node_id)
    if taken is None:
        return Taken(0, 0, foreign) if foreign else None
    return Taken(taken.sequence, taken.taken, foreign)


def _audit_foreign(tx: Tx, node_id: NodeId) -> None:
    if audit.has_recent(tx, "repair.refuse", node_id=node_id):
        return
    audit.append(
        tx,
        agent_name="node-link",
        action="repair.refuse",
        reasoning="the node reports about a repair that is not its own; it may be in a stranger's hands",
        outcome="refused",
        node_id=node_id,
    )
