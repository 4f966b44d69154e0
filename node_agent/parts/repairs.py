"""What becomes of repairs: told over the link at once, their ends through the spool, once, and to the health engine."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NoReturn

import structlog

from node_agent.clock import Clock
from node_agent.convert_repair import to_repair_record, to_repair_report
from node_agent.health.model import Change, Rung
from node_agent.parts.desk import HealthDesk
from node_agent.repair.engine import RepairEngine
from node_agent.repair.model import RepairOrder, RepairRecord, RepairState
from node_agent.settings import Repairs
from node_agent.spool.spool import Spool
from orquanta.v1 import repair_pb2

log = structlog.get_logger()

_TOLD: Final = "repairs"  # name of the spool's state
_MAXIMUM_TOLD: Final = 500
"""Ids of repairs whose end is in the spool. The engine's journal remembers fewer."""


class RepairDesk:
    """Hears of every change of every repair. `note` may be called before `run`."""

    def __init__(
        self,
        desk: HealthDesk,
        spool: Spool,
        clock: Clock,
        *,
        boot_id: Callable[[], str],
        on_progress: Callable[[repair_pb2.RepairReport], None],
    ) -> None:
        """`boot_id` tells the boot that the GPUs see now."""
        self._desk = desk
        self._spool = spool
        self._clock = clock
        self._boot_id = boot_id
        self._on_progress = on_progress
        self._ended: asyncio.Queue[RepairRecord] = asyncio.Queue()  # bounded by the engine: one repair at a time
        self._told = _read_told(spool.state(_TOLD))
        self.newest: RepairRecord | None = None
        """The repair that changed last."""
        self.counts: dict[tuple[Rung, RepairState], int] = {}
        """Repairs that ended since the daemon started."""

    def note(self, record: RepairRecord) -> None:
        """Take note of a change of a repair."""
        self.newest = record
        self._on_progress(to_repair_report(record))
        if record.state.ended:
            self._ended.put_nowait(record)

    def told(self, repair_id: str) -> bool:
        """Say whether the end of a repair is in the spool, or was."""
        return repair_id in self._told

    def take_up(self, records: Iterable[RepairRecord]) -> None:
        """Tell of repairs, newest first, whose end the last daemon could not tell any more."""
        for record in reversed(list(records)):
            self.newest = record
            if record.state.ended and record.order.id not in self._told:
                self._ended.put_nowait(record)

    async def run(self) -> NoReturn:
        """Put ends into the spool until cancelled."""
        while True:
            record = await self._ended.get()
            if record.order.id in self._told:
                continue
            changes = self._judge(record)
            self._told[record.order.id] = None
            for oldest in list(self._told)[:-_MAXIMUM_TOLD]:
                del self._told[oldest]
            key = (record.order.rung, record.state)
            self.counts[key] = self.counts.get(key, 0) + 1
            state = {_TOLD: json.dumps(list(self._told)).encode()}
            await self._desk.tell(changes, to_repair_record(record), state=state)

    def _judge(self, record: RepairRecord) -> list[Change]:
        order = record.order
        if order.dry_run or record.state is RepairState.REFUSED:
            return []
        now = self._clock.now()
        changes = self._desk.engine.note_boot(self._boot_id(), now)
        succeeded = record.state is RepairState.SUCCEEDED
        return changes + self._desk.engine.note_repair(
            order.gpu_uuids, order.rung, succeeded, now, service=order.service
        )


class Repairman:
    """Hands orders to the repair engine as the settings say."""

    def __init__(self, engine: RepairEngine, desk: RepairDesk, mode: Repairs, clock: Clock, boot_id: str) -> None:
        self._engine = engine
        self._desk = desk
        self._mode = mode
        self._clock = clock
        self._boot_id = boot_id
        self._refused = ""

    @property
    def mode(self) -> Repairs:
        """Whether repairs are carried out here."""
        return self._mode

    def order(self, order: RepairOrder | None) -> None:
        """Take over what the control plane wants now. Safe to repeat."""
        if order is not None and self._mode is Repairs.DRY_RUN:
            order = replace(order, dry_run=True)
        off = self._mode is Repairs.OFF and order is not None and not order.dry_run
        if order is not None and off and not self._engine.knows(order.id):
            self.refuse(order, 'repairs are switched off on this host: set repairs = "on" in its settings')
            order = None
        self._engine.order(order)

    def refuse(self, order: RepairOrder, message: str) -> None:
        """Say once that an order is not carried out."""
        if order.id == self._refused or self._desk.told(order.id) or self._engine.knows(order.id):
            return  # what an earlier daemon began is no refusal: its own end is told
        self._refused = order.id
        now = self._clock.now()
        self._desk.note(RepairRecord(order, RepairState.REFUSED, message, now, self._boot_id, ended_at=now))

    def report(self) -> repair_pb2.RepairReport | None:
        """Return the repair in progress, or else the one that changed last."""
        record = self._engine.current or self._desk.newest
        return None if record is None else to_repair_report(record)

    def records(self) -> Sequence[RepairRecord]:
        """Return the repairs that the host remembers, newest first."""
        return self._engine.records()


def _read_told(data: bytes) -> dict[str, None]:
    try:
        return dict.fromkeys(str(repair_id) for repair_id in json.loads(data or b"[]"))
    except (ValueError, TypeError):
        log.error("repairs.told_unreadable", doing="ends of repairs may be told twice")  # noqa: TRY400 - nothing more is known
        return {}
