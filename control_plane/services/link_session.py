"""One host's stream after its Hello: what it says is put where the writer finds it, and answered at once if it can be.

Reading never waits for the database, so a heartbeat is acknowledged even while the database is away.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import InvalidArgument
from control_plane.model.identity import NodePrincipal
from control_plane.model.ids import NodeId
from control_plane.model.job import AllocationState
from control_plane.model.node import HostInventory
from control_plane.model.report import MemberReport
from control_plane.services import reader
from control_plane.services.allowance import Allowance
from control_plane.services.link_answers import LateAnswers
from control_plane.services.link_books import MemberKey
from control_plane.services.link_inbox import HealthInbox
from control_plane.services.link_outbox import Outbox
from control_plane.services.link_registry import Link, LinkRegistry
from control_plane.services.link_terms import LinkTerms, farewell
from control_plane.services.link_wire import read_inventory, read_report
from orquanta.v1 import node_link_pb2, node_pb2

log = structlog.get_logger()

MESSAGES_PER_SECOND: Final = 200
MESSAGES_AT_ONCE: Final = 4000
"""A host may say this much at once, and then MESSAGES_PER_SECOND; one that says more is sent away for a while."""

_REPORTS_WAITING_MAX: Final = 2048
"""Members of one host whose newest report waits to be written; one beyond is dropped, and the host sends it again."""

_RENEWALS_MAX: Final = 5  # in one stream; a certificate lasts for hours
_COME_BACK_SECONDS: Final = 5.0
STATES_AT_ONCE: Final = 60
_STATES_PER_SECOND: Final = 0.5
_CALM_SECONDS: Final = 30.0


class LinkSession:
    """The state of one stream. `changed` is called when something waits for the writer."""

    __slots__ = (
        "_answers",
        "_boot_id",
        "_changed",
        "_clock",
        "_health_changed",
        "_messages",
        "_registry",
        "_renewals",
        "_states",
        "_terms",
        "control_epoch",
        "desired",
        "fresh_inventory",
        "health",
        "inventory",
        "leftovers",
        "listening_since",
        "never_started",
        "outbox",
        "principal",
        "refused_reports",
        "reports",
        "revision",
        "signing_request",
        "told_of",
        "welcomed",
        "withdrawn_at",
        "writer",
        "writing_since",
    )

    def __init__(
        self,
        principal: NodePrincipal,
        boot_id: str,
        *,
        clock: Clock,
        terms: LinkTerms,
        registry: LinkRegistry,
        answers: LateAnswers,
        changed: Callable[["LinkSession"], None],
        health_changed: Callable[["LinkSession"], None],
    ) -> None:
        self.principal = principal
        self.outbox = Outbox()
        self.control_epoch = 0
        """The epoch in force when the host's state was taken into the books."""
        self.welcomed = False
        self.revision = 0
        self.desired: node_link_pb2.DesiredState | None = None
        """What the host was told last, without its revision."""
        self.inventory: HostInventory | None = None
        self.leftovers: set[MemberKey] = set()
        self.told_of: set[MemberKey] = set()
        """Members that the host may know: it spoke of them in its Hello, or was asked to run them since."""
        self.withdrawn_at: dict[MemberKey, float] = {}
        self.never_started: frozenset[MemberKey] = frozenset()
        self.reports: dict[MemberKey, MemberReport] = {}
        self.fresh_inventory: HostInventory | None = None
        self.signing_request = b""
        self.health = HealthInbox(self.node_id, clock)
        self.refused_reports = 0
        self._boot_id = boot_id
        self._clock = clock
        self._terms = terms
        self._registry = registry
        self._answers = answers
        self._changed = changed
        self._health_changed = health_changed
        self._renewals = 0
        self.listening_since: float | None = None
        """Since when its next message is waited for, by the event loop's clock; None while none is."""
        self.writing_since = 0.0
        """Since when gRPC has had the message that it was given last, by the event loop's clock."""
        self.writer: asyncio.Task[Any] | None = None  # Any: of whatever gRPC runs
        """Who waits for gRPC to take that message; None while nobody does, or once it was cancelled for waiting too
        long."""
        self._messages = Allowance(clock, at_once=MESSAGES_AT_ONCE, per_second=MESSAGES_PER_SECOND)
        self._states = Allowance(clock, at_once=STATES_AT_ONCE, per_second=_STATES_PER_SECOND)

    @property
    def node_id(self) -> NodeId:
        """The node of its certificate."""
        return self.principal.node_id

    @property
    def boot_id(self) -> str:
        """The boot of the host that speaks."""
        return self._boot_id

    def end(self, reason: str, *, permanent: bool = False, retry_after_seconds: float = 0.0) -> None:
        """Say farewell and end the stream; returns at once."""
        log.info("link.ending", node_id=self.node_id, reason=reason, permanent=permanent)
        self.outbox.end(farewell(reason, permanent=permanent, retry_after_seconds=retry_after_seconds))

    def take(self, request: node_link_pb2.ConnectRequest) -> None:
        """Take what the host says; ends the stream of one that says too much."""
        self._registry.heard(self.node_id)
        if self._messages.take():
            self._take(request)
        else:
            self.end(f"more than {MESSAGES_PER_SECOND} messages a second", retry_after_seconds=_COME_BACK_SECONDS)

    def end_if_silent(self, now: float) -> None:
        """End the stream if nothing has come for a whole lease; `now`: by the event loop's clock."""
        since = self.listening_since
        if since is not None and now - since > self._terms.lease_seconds and not self.outbox.closed:
            self.end(f"silent for {self._terms.lease_seconds:g} seconds")

    def end_if_unread(self, now: float) -> None:
        """End the stream if its host does not take what it is told; `now`: by the event loop's clock."""
        if self.writer is not None and now - self.writing_since > reader.SLOW_READER_SECONDS:
            writer, self.writer = self.writer, None
            writer.cancel()

    def _take(self, request: node_link_pb2.ConnectRequest) -> None:
        match request.WhichOneof("message"):
            case "spool" | "repair_report":
                self._take_health(request)
            case "heartbeat":
                self.health.note_clock(request.heartbeat.host_time)
                # A host without an answer finds who is in charge, or stops its jobs before they start elsewhere.
                lease_seconds = self._terms.lease_seconds
                if self._registry.may_acknowledge(self.node_id, lease_seconds):
                    self._answers.heartbeat(self.outbox, request.heartbeat.sequence, lease_seconds=lease_seconds)
            case "member_report":
                self._take_report(request.member_report)
            case "inventory":
                self._take_inventory(request.inventory)
            case "certificate_signing_request":
                self._take_signing_request(request.certificate_signing_request)
            case "hello":
                self.end("a second Hello on one stream", retry_after_seconds=_COME_BACK_SECONDS)
            case None:
                pass  # said by a newer daemon; what it means is not known here

    def _take_health(self, request: node_link_pb2.ConnectRequest) -> None:
        if not self.health.take(request):
            # What is dropped would leave a gap; on a fresh stream the host begins where the books end.
            self.end("its spool comes faster than it can be written", retry_after_seconds=_COME_BACK_SECONDS)
        else:
            self._health_changed(self)

    def _take_report(self, wire: node_link_pb2.MemberReport) -> None:
        """Only the newest of a member waits: it says all that the older ones said."""
        try:
            report = read_report(wire, self._clock.now())
        except InvalidArgument as error:
            self.refused_reports += 1
            log.warning("link.report_refused", node_id=self.node_id, why=error.message)
            return
        key = (report.allocation_id, report.rank)
        waiting = self.reports.get(key)
        if waiting is not None and waiting.state is AllocationState.ENDED and waiting.epoch == report.epoch:
            return
        if waiting is None and len(self.reports) >= _REPORTS_WAITING_MAX:
            self.refused_reports += 1
            return
        self.reports[key] = report
        self._changed(self)

    def _take_inventory(self, wire: node_pb2.HostInventory) -> None:
        try:
            self.state_changed(read_inventory(wire))
        except InvalidArgument as error:
            log.warning("link.inventory_refused", node_id=self.node_id, why=error.message)

    def state_changed(self, inventory: HostInventory) -> None:
        """Have the host's state written; one that keeps changing it is sent away for a while: each is on record."""
        if not self._states.take():
            self.end("its state changes too often", retry_after_seconds=_CALM_SECONDS)
            return
        self.fresh_inventory = inventory
        self._changed(self)

    def _take_signing_request(self, pem: bytes) -> None:
        self._renewals += 1
        if self._renewals > _RENEWALS_MAX:
            log.warning("link.renewals_refused", node_id=self.node_id, renewals=self._renewals)
            return
        self.signing_request = pem
        self._changed(self)


def end_silent(links: Iterable[Link], *, pause_seconds: float, before: float, now: float) -> None:
    """End the streams of which nothing has come for a lease, and those that are not read.

    To be called after a pause of so many seconds. If that was twice as long as it should have been, the process stood
    still: what hosts have said meanwhile is read before anybody counts as silent. `before`, `now`: when the pause began
    and ended, by the event loop's clock.
    """
    if now - before > 2 * pause_seconds:
        return
    for link in links:
        if isinstance(link, LinkSession):
            link.end_if_silent(now)
            link.end_if_unread(now)
