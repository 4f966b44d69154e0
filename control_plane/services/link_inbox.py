"""What one host has said about its health and is not in the books yet."""

from datetime import datetime
from typing import Final

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.clock import Clock
from control_plane.errors import InvalidArgument
from control_plane.fleet.ladder import asks
from control_plane.governor.health import Record
from control_plane.model.health import HealthEvent, HealthEventKind
from control_plane.model.ids import NodeId
from control_plane.model.repair import RepairReport
from control_plane.services.link_health import RECORDS_MAX, read_record, read_repair_report, read_spool_id
from control_plane.services.link_wire import read_time
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

_RECORDS_WAITING_MAX: Final = 4_000
_BYTES_WAITING_MAX: Final = 4 << 20
"""Of one host. One that sends more before it hears an acknowledgement has to come back later."""

_REPAIRS_WAITING_MAX: Final = 16


class HealthInbox:
    """Records in the order in which they came, and the newest report of each repair; belongs to one event loop."""

    __slots__ = ("_bytes", "_clock", "_node_id", "_records", "live_from", "pressing", "repairs", "spool_id")

    def __init__(self, node_id: NodeId, clock: Clock) -> None:
        self._node_id = node_id
        self._clock = clock
        self._records: list[tuple[Record, int]] = []  # a deque is 0.6 KB, and it is empty in nearly all
        self._bytes = 0
        self.pressing = False
        """Whether something waits that has gone wrong, not only what became of it."""
        self.spool_id = ""
        self.repairs: dict[str, RepairReport] = {}
        self.live_from: datetime | None = None
        """The moment, by the host's clock, from which on its records say something that its full state did not."""

    @property
    def waiting(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._records or self.repairs)

    def begin(self, host_time: datetime | None) -> None:
        """Take note of when the host's full state was true."""
        self.live_from = host_time

    def note_clock(self, host_time: Timestamp) -> None:
        """A host's clock that was set back makes later records look older than its full state: believe the clock."""
        if self.live_from is not None and (now := read_time(host_time)) is not None and now < self.live_from:
            self.live_from = now

    def take(self, request: node_link_pb2.ConnectRequest) -> bool:
        """Keep what the host says; return False if too much waits already."""
        if request.WhichOneof("message") == "repair_report":
            self._take_repair(request)
            return True
        return self._take_batch(request.spool)

    def _take_repair(self, request: node_link_pb2.ConnectRequest) -> None:
        try:
            report = read_repair_report(request.repair_report, self._clock.now())
        except InvalidArgument as error:
            log.warning("link.repair_refused", node_id=self._node_id, why=error.message)
            return
        if report.repair_id in self.repairs or len(self.repairs) < _REPAIRS_WAITING_MAX:
            self.repairs[report.repair_id] = report

    def _take_batch(self, batch: node_link_pb2.SpoolBatch) -> bool:
        try:
            spool_id = read_spool_id(batch.spool_id)
        except InvalidArgument as error:
            log.warning("link.spool_refused", node_id=self._node_id, why=error.message)
            return False
        if spool_id != self.spool_id:
            if self._records:
                return False  # two spools on one stream: never a daemon of ours
            self.spool_id = spool_id
        wires = list(batch.records)[: RECORDS_MAX + 1]
        if len(wires) > RECORDS_MAX or len(self._records) + len(wires) > _RECORDS_WAITING_MAX:
            return False
        now = self._clock.now()
        for wire in wires:
            try:
                record, why = read_record(wire, now)
            except InvalidArgument as error:
                log.warning("link.spool_refused", node_id=self._node_id, why=error.message)
                return False
            if why:
                log.warning("link.record_refused", node_id=self._node_id, sequence=record.sequence, why=why)
            size = wire.ByteSize()
            self._records.append((record, size))
            self._bytes += size
            self.pressing = self.pressing or self._presses(record)
        return self._bytes <= _BYTES_WAITING_MAX

    def records(self, most: int) -> tuple[Record, ...]:
        """Return the oldest records that wait, at most so many; they stay until `written`."""
        return tuple(record for record, _ in self._records[:most])

    def written(self, count: int) -> None:
        """Forget the oldest records: they are in the books."""
        self._bytes -= sum(size for _, size in self._records[:count])
        del self._records[:count]
        self.pressing = self.pressing and any(self._presses(record) for record, _ in self._records)

    def take_repairs(self) -> tuple[RepairReport, ...]:
        """Return the reports about repairs that wait, and forget them."""
        reports, self.repairs = tuple(self.repairs.values()), {}
        return reports

    def give_back(self, reports: tuple[RepairReport, ...]) -> None:
        """Keep reports that could not be written; what the host has said meanwhile is newer and stays."""
        for report in reports:
            self.repairs.setdefault(report.repair_id, report)

    def _presses(self, record: Record) -> bool:
        """Tell whether a record says that something is wrong now; of what was before, the full state has told."""
        event = record.content
        if self.live_from is not None and record.recorded_at < self.live_from:
            return False
        return isinstance(event, HealthEvent) and event.kind is HealthEventKind.RAISED and asks(event.condition)
