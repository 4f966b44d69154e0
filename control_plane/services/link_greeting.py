"""The first message of a stream, checked: what the host is, what it runs, and how it is."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from control_plane.errors import InvalidArgument
from control_plane.model.health import Condition
from control_plane.model.identity import NodePrincipal
from control_plane.model.node import HostInventory
from control_plane.model.repair import RepairReport
from control_plane.model.report import MemberReport
from control_plane.services.link_health import read_conditions, read_repair_report
from control_plane.services.link_terms import farewell
from control_plane.services.link_wire import read_inventory, read_report, read_time
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

TRY_LATER_SECONDS: Final = 10.0

_MEMBERS_MAX: Final = 4096
"""Members in one Hello; a host forgets those that were acknowledged."""

_CLOCK_OFF_SECONDS: Final = 300.0

Requests = AsyncIterator[node_link_pb2.ConnectRequest]


@dataclass(frozen=True, slots=True)
class Greeting:
    """A Hello whose form was checked."""

    inventory: HostInventory
    reports: tuple[MemberReport, ...]
    members: frozenset[tuple[str, int]]
    """Every member that the host spoke of, in a report that can be read or not."""
    conditions: tuple[Condition, ...]
    repair: RepairReport | None
    host_time: datetime | None


class Rejected(Exception):
    """The stream is not accepted; its last and only message says why."""

    def __init__(self, reason: str, *, permanent: bool = False, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.message = node_link_pb2.ConnectResponse(
            disconnect=farewell(reason, permanent=permanent, retry_after_seconds=retry_after_seconds)
        )


class PutOff(Rejected):
    """The host has to come back later, because others are taken up. That is no fault of its jobs."""

    def let_jobs_run(self, seconds: float) -> None:
        """Tell the host that its jobs may run for so long from when it called, if that is any time at all."""
        if seconds > 0:
            self.message.disconnect.fence.FromTimedelta(timedelta(seconds=seconds))


async def hello(requests: Requests, seconds: float) -> node_link_pb2.Hello:
    """Return a stream's first message. Raises Rejected."""
    # Read even of a host that is then refused: a stream that ends while its host still speaks may lose the reason.
    try:
        async with asyncio.timeout(seconds):
            request = await anext(requests)
    except (TimeoutError, StopAsyncIteration):
        raise Rejected(f"no Hello within {seconds:g} seconds") from None
    except DecodeError:
        raise Rejected("what was received cannot be read", retry_after_seconds=TRY_LATER_SECONDS) from None
    if request.WhichOneof("message") != "hello":
        raise Rejected("the first message must be Hello", retry_after_seconds=TRY_LATER_SECONDS)
    return request.hello


def checked(principal: NodePrincipal, hello: node_link_pb2.Hello, *, epoch: int, now: datetime) -> Greeting:
    """Return what a host says at first, in our own words. Raises Rejected for what cannot be taken."""
    if hello.control_epoch > epoch:
        raise Rejected(
            f"this host obeys a control plane of epoch {hello.control_epoch}; this one is of the older epoch {epoch}",
            retry_after_seconds=TRY_LATER_SECONDS,
        )
    if len(hello.members) > _MEMBERS_MAX:
        raise Rejected(f"{len(hello.members)} members; at most {_MEMBERS_MAX}", retry_after_seconds=TRY_LATER_SECONDS)
    host_time = read_time(hello.host_time)
    if host_time is not None and abs((host_time - now).total_seconds()) > _CLOCK_OFF_SECONDS:
        log.warning("link.host_clock_off", node_id=principal.node_id, off_seconds=(host_time - now).total_seconds())
    try:
        inventory = read_inventory(hello.inventory)
    except InvalidArgument as error:
        raise Rejected(error.message, retry_after_seconds=TRY_LATER_SECONDS) from None
    reports = []
    for wire in hello.members:
        try:
            reports.append(read_report(wire, now))
        except InvalidArgument as error:
            log.warning("link.report_refused", node_id=principal.node_id, why=error.message)
    members = frozenset((wire.allocation_id, wire.rank) for wire in hello.members)
    conditions, repair = _checked_health(principal, hello, now)
    return Greeting(inventory, tuple(reports), members, conditions, repair, host_time)


def _checked_health(
    principal: NodePrincipal, hello: node_link_pb2.Hello, now: datetime
) -> tuple[tuple[Condition, ...], RepairReport | None]:
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
