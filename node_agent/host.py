"""The jobs of this host as the link sees them: what the control plane says becomes what the runner does, and back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import structlog

from node_agent.clock import Clock
from node_agent.convert import to_report, to_spec
from node_agent.jobs.logs import Stream
from node_agent.jobs.runner import JobRunner
from node_agent.jobs.spec import InvalidSpecError, MemberKey
from node_agent.jobs.status import MemberStatus, rejected
from node_agent.link.broker import Broker
from node_agent.link.logs import LogKey, LogPiece, LogShipper
from node_agent.parts.orders import Orders
from orquanta.v1 import health_pb2, job_pb2, node_link_pb2, node_pb2, repair_pb2

log = structlog.get_logger()

_HELD_MEMBERS = 1000  # ended and in the books, but with output that NATS has not taken
_HELD_FOR = timedelta(days=7)
_TIDY_SECONDS = 600.0

_STREAMS: Mapping[Stream, job_pb2.LogStream.ValueType] = {
    Stream.STDOUT: job_pb2.LOG_STREAM_STDOUT,
    Stream.STDERR: job_pb2.LOG_STREAM_STDERR,
}


class NodeHost:
    """Implements the link's `Host`."""

    def __init__(
        self,
        runner: JobRunner,
        broker: Broker,
        inventory: Callable[[], node_pb2.HostInventory],
        orders: Orders,
        *,
        images: bool,
        clock: Clock,
    ) -> None:
        """Without `images`, jobs that name one are refused."""
        self._runner = runner
        self._broker = broker
        self._inventory = inventory
        self._orders = orders
        self._images = images
        self._clock = clock
        self._in_books: set[MemberKey] = set()
        self._tidy = asyncio.Event()
        self._leaving = False

    def inventory(self) -> node_pb2.HostInventory:
        """Return what the host is made of."""
        return self._inventory()

    def member_reports(self) -> Sequence[node_link_pb2.MemberReport]:
        """Return the state of every member whose end was not acknowledged yet."""
        return [
            to_report(status)
            for key, status in self._runner.statuses().items()
            if not status.acknowledged and key not in self._in_books
        ]

    def conditions(self) -> Sequence[health_pb2.Condition]:
        """Return every condition of now, worst first, at most 500 and 1 MiB together."""
        return self._orders.conditions()

    def repair_report(self) -> repair_pb2.RepairReport | None:
        """Return the repair in progress, or else the last one."""
        return self._orders.repair_report()

    def policy_version(self) -> int:
        """Return the version of the local policy that the host holds; 0 if none."""
        return self._orders.policy_version()

    async def heed(self, order: node_link_pb2.DesiredState) -> None:
        """Take up what an order says beside its members."""
        await self._orders.heed(order)

    async def converge(
        self, members: Sequence[node_link_pb2.MemberAssignment], stops: Sequence[node_link_pb2.MemberStop]
    ) -> None:
        """Start what is missing, stop what is not listed: as `stops` says, or else with a checkpoint first."""
        desired, refused = {}, []
        for assignment in () if self._leaving else members:
            try:
                key = MemberKey(assignment.allocation_id, assignment.rank)
            except InvalidSpecError as error:
                log.error("job.unknown_id", allocation_id=assignment.allocation_id[:80], reason=str(error))  # noqa: TRY400 - the reason is whole
                continue
            try:
                desired[key] = to_spec(assignment, images=self._images)
            except InvalidSpecError as error:
                now = self._clock.now()
                refused.append(rejected(key, assignment.job_id, assignment.epoch, str(error), now))
        self._in_books -= desired.keys()  # what is wanted still is not in the books: its end is told again
        at_once = {stop.allocation_id for stop in stops if not stop.checkpoint_first and not self._leaving}
        await self._runner.converge(desired, refused, at_once=at_once)

    async def acknowledge(self, allocation_id: str, rank: int) -> None:
        """Take note that the end of a member is in the control plane's books."""
        key = MemberKey(allocation_id, rank)
        if key in self._runner.statuses():
            self._in_books.add(key)
            self._tidy.set()

    async def set_fence(self, boottime_seconds: float) -> None:
        """Let jobs run until this moment if nothing is heard from the control plane."""
        self._store_fence(self._runner.set_fence, boottime_seconds)

    async def extend_fence(self, boottime_seconds: float) -> None:
        """Let jobs run until this moment, or for as long as they may already if that is longer."""
        self._store_fence(self._runner.extend_fence, boottime_seconds)

    def _store_fence(self, store: Callable[[float], None], boottime_seconds: float) -> None:
        try:
            store(boottime_seconds)
        except OSError as error:
            # Without room for a few bytes the fence stays where it is, and the jobs stop when it passes: safe.
            log.error("fence.not_stored", error=str(error), todo="free some disk space, or the jobs will be stopped")  # noqa: TRY400 - the reason is whole

    def use_nats(self, servers: Sequence[str]) -> None:
        """Send telemetry and logs to these servers."""
        self._broker.use_servers(servers)
        self._tidy.set()

    async def leave(self) -> None:
        """Stop every job, whatever the control plane wants; return once all have ended."""
        self._leaving = True
        await self._runner.converge({})
        changes = self._runner.changes()
        while not all(status.ended for status in self._runner.statuses().values()):
            await anext(changes)

    # Where the log shipper gets its output from.

    def unshipped(self) -> Sequence[tuple[LogKey, bool]]:
        """Return the members whose logs are to be shipped, each with whether it has ended."""
        return [
            (_log_key(status), status.ended) for status in self._runner.statuses().values() if not status.acknowledged
        ]

    async def follow(self, key: LogKey, offset: int) -> AsyncIterator[LogPiece]:
        """Yield output from `offset` on until the member has ended and all is read."""
        async for chunk in self._runner.logs.follow(MemberKey(key.allocation_id, key.rank), offset):
            yield LogPiece(chunk.offset, _STREAMS[chunk.stream], chunk.data, chunk.time)

    def note_shipped(self, _key: LogKey) -> None:
        """Take note that NATS holds all of a member's output."""
        self._tidy.set()

    async def let_go(self, shipper: LogShipper) -> NoReturn:
        """Let the runner forget members whose end is in the books and whose output is with NATS."""
        while True:
            self._tidy.clear()
            statuses = self._runner.statuses()
            self._in_books &= statuses.keys()
            held = sorted((statuses[key] for key in self._in_books), key=_ended_at)
            surplus = len(held) - _HELD_MEMBERS
            for index, status in enumerate(held):
                key = _log_key(status)
                shipped = shipper.is_shipped(key) or not self._broker.configured
                too_long = index < surplus or self._clock.now() - _ended_at(status) > _HELD_FOR
                if too_long and not shipped:
                    log.warning("logs.given_up", allocation_id=key.allocation_id, rank=key.rank)
                if shipped or too_long:
                    await self._runner.acknowledge(status.key)
                    shipper.forget(key)
                    self._in_books.discard(status.key)
            try:
                async with asyncio.timeout(_TIDY_SECONDS):
                    await self._tidy.wait()
            except TimeoutError:
                continue


def _log_key(status: MemberStatus) -> LogKey:
    return LogKey(status.key.allocation_id, status.job_id, status.epoch, status.key.rank)


def _ended_at(status: MemberStatus) -> datetime:
    return status.ended_at or datetime.min.replace(tzinfo=UTC)
