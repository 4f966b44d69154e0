"""Writes what hosts say about their health: many hosts in one transaction, then the acknowledgements.

A loop of its own, so that a condition never waits behind the reports of jobs. What has gone wrong is written first;
while many hosts fail at once, what became of it waits until each of them has its orders.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from control_plane.errors import Unavailable
from control_plane.governor import health, repairs
from control_plane.governor.health import Record, Taken
from control_plane.model.health import HealthEvent
from control_plane.model.ids import NodeId, RepairId
from control_plane.model.repair import RepairReport
from control_plane.services.allowance import Allowance
from control_plane.services.link_answers import LateAnswers
from control_plane.services.link_session import LinkSession
from control_plane.store import audit
from control_plane.store.database import Store, Tx
from control_plane.urgency import STORM, Urgency

log = structlog.get_logger()

_RECORDS_OF_ONE_HOST: Final = 200  # in one write, so that no host holds up the others
_RECORDS_PER_WRITE: Final = 512
"""Of some 250 hosts at once, when each says one thing: few enough that the first of many are acted on meanwhile."""
_EVENTS_AT_ONCE: Final = 100_000  # a spool that was filled for a week
_EVENTS_PER_SECOND: Final = 2.0
"""Changes of conditions of one host whose history is kept; beyond, only what they mean now is."""
_PATIENCE_SECONDS: Final = 3.0
"""What does not press waits so long at most; then all of it that has waited has its turn."""
_RECORDS_OF_A_PATIENT_HOST: Final = 16  # in one write, while others press; reports of repairs all the same
_LOOK_SECONDS: Final = 0.05
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one host has said, to be written together."""

    session: LinkSession
    spool_id: str
    records: tuple[Record, ...]
    reports: tuple[RepairReport, ...]
    keep_most: int
    """Health events that are kept as history."""


class LinkHealthWriter:
    """The one loop that writes health for all links; `run` it in a task group."""

    def __init__(self, store: Store, answers: LateAnswers, *, urgency: Urgency) -> None:
        self._store = store
        self._answers = answers
        self._urgency = urgency
        self._pressing: dict[LinkSession, None] = {}
        self._changed: dict[LinkSession, None] = {}
        self._patient_since = 0.0
        self._owed = 0
        self._wake = asyncio.Event()
        self._audited: set[NodeId] = set()
        self._kept: dict[NodeId, Allowance] = {}

    def changed(self, session: LinkSession) -> None:
        """Take note that a session has something to be written."""
        self._note(session)
        self._wake.set()

    def _note(self, session: LinkSession) -> None:
        if session.health.pressing:
            self._changed.pop(session, None)
            self._pressing[session] = None
        elif session not in self._pressing:
            if not self._changed:
                self._owed = 0
                self._patient_since = self._store.clock.monotonic()
            self._changed[session] = None

    async def run(self) -> None:
        """Write until cancelled; while the store is away, what hosts say waits, bounded."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._pressing or self._changed:
                    if self._pressing or not self._has_to_wait():
                        await self._write()
                    else:
                        await self._look_up()
            except Unavailable as error:
                log.warning("link.health_waits", why=error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                self._wake.set()
            else:
                pause = _FIRST_PAUSE_SECONDS

    def _has_to_wait(self) -> bool:
        """Tell whether what does not press has to wait for what does."""
        waited = self._store.clock.monotonic() - self._patient_since
        return self._is_urgent and not self._owed and waited < _PATIENCE_SECONDS

    @property
    def _is_urgent(self) -> bool:
        return len(self._pressing) >= STORM or self._urgency.is_urgent

    async def _look_up(self) -> None:
        """Wait a moment, unless something is said meanwhile."""
        self._wake.clear()
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _write(self) -> None:
        with self._urgency.coming() if len(self._pressing) >= STORM else nullcontext():
            await self._write_next()

    async def _write_next(self) -> None:
        batches = self._next()

        def acknowledge(taken: list[Taken | None]) -> None:
            for batch, one in zip(batches, taken, strict=True):
                self._settle(batch, one)

        try:
            await self._store.write(partial(_take_all, batches=batches), committed=acknowledge)
        except Unavailable:
            self._give_back(batches)
            raise
        except Exception:
            log.exception("link.health_failed_together", hosts=len(batches))
            await self._write_apart(batches)

    def _give_back(self, batches: Iterable[_Batch]) -> None:
        for batch in batches:
            batch.session.health.give_back(batch.reports)
            self._note(batch.session)

    async def _write_apart(self, batches: Sequence[_Batch]) -> None:
        """Write each host by itself, and only what fails even so record by record. Raises Unavailable."""
        for position, batch in enumerate(batches):
            try:
                taken = await self._write_alone(batch)
            except Unavailable:
                self._give_back(batches[position:])
                raise
            self._settle(batch, taken)

    async def _write_alone(self, batch: _Batch) -> Taken | None:
        try:
            return await self._write_part(batch)
        except Unavailable:
            raise
        except Exception:
            log.exception("link.health_failed", node_id=batch.session.node_id)
            return await self._write_one_by_one(batch)

    def _next(self) -> list[_Batch]:
        batches: list[_Batch] = []
        room, now = _RECORDS_PER_WRITE, self._store.clock.monotonic()
        for session in self._in_turn():
            if room <= 0:
                break
            inbox, patient = session.health, session in self._changed
            most = _RECORDS_OF_A_PATIENT_HOST if patient and self._is_urgent else _RECORDS_OF_ONE_HOST
            records = inbox.records(min(most, room))
            batches.append(
                _Batch(session, inbox.spool_id, records, inbox.take_repairs(), self._may_keep(session.node_id, records))
            )
            room -= len(records) + 1
            if patient:
                self._patient_since = now
                self._owed = max(0, self._owed - 1)
                del self._changed[session]
            else:
                del self._pressing[session]
        return batches

    def _in_turn(self) -> list[LinkSession]:
        """Return whose turn it is. Whoever has waited for long comes before all that presses, and once at least."""
        if not self._owed and self._store.clock.monotonic() - self._patient_since >= _PATIENCE_SECONDS:
            self._owed = len(self._changed)
        if self._owed:
            return [*self._changed, *self._pressing]
        # The room that is left costs little more: the write has to be made anyhow.
        return [*self._pressing, *self._changed] if self._pressing or not self._is_urgent else []

    async def _write_one_by_one(self, batch: _Batch) -> Taken | None:
        """Take each record in a transaction of its own: one that the books cannot take is left out, for good.

        Raises Unavailable.
        """
        node_id = batch.session.node_id
        parts = [_Batch(batch.session, batch.spool_id, (), (report,), 0) for report in batch.reports]
        parts += [_Batch(batch.session, batch.spool_id, (record,), (), batch.keep_most) for record in batch.records]
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
                    taken = await self._write_part(_Batch(part.session, part.spool_id, (empty,), (), 0))
        return taken

    async def _write_part(self, part: _Batch) -> Taken | None:
        return await self._store.write(lambda tx: _take(tx, part))

    def _settle(self, batch: _Batch, taken: Taken | None) -> None:
        """Acknowledge what is in the books now."""
        session = batch.session
        session.health.written(len(batch.records))
        if taken is not None:
            if batch.records:
                self._answers.spool(session.outbox, batch.spool_id, taken.sequence)
            if taken.foreign and session.node_id not in self._audited:
                self._audited.add(session.node_id)
                log.warning("link.foreign_repair", node_id=session.node_id)
        if session.health.waiting:
            self.changed(session)  # and to the end of the line

    def _may_keep(self, node_id: NodeId, records: Sequence[Record]) -> int:
        """Return how many of these records are still within what is kept of one host."""
        found = self._kept.get(node_id)
        if found is None:
            found = Allowance(self._store.clock, at_once=_EVENTS_AT_ONCE, per_second=_EVENTS_PER_SECOND)
            self._kept[node_id] = found
        return sum(1 for record in records if isinstance(record.content, HealthEvent) and found.take())


def _take_all(tx: Tx, batches: Sequence[_Batch]) -> list[Taken | None]:
    """Take what hosts have said: what has to be known for that is read for all of them at once."""
    contents = (record.content for batch in batches for record in batch.records)
    reports = [one for one in contents if isinstance(one, RepairReport)]
    reports += [report for batch in batches for report in batch.reports]
    health.load(tx, [batch.session.node_id for batch in batches], [RepairId(one.repair_id) for one in reports])
    return [_take(tx, batch) for batch in batches]


def _take(tx: Tx, batch: _Batch) -> Taken | None:
    node_id = batch.session.node_id
    foreign = sum(repairs.apply_live_report(tx, node_id, report).foreign for report in batch.reports)
    taken = None
    if batch.records:
        taken = health.take(
            tx,
            node_id,
            batch.spool_id,
            batch.records,
            live_from=batch.session.health.live_from,
            keep_most=batch.keep_most,
        )
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
