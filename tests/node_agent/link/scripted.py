"""A host whose link is tried, with a real spool: it remembers what it is asked."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from node_agent.clock import Clock, SystemClock
from node_agent.link.epoch import ControlEpoch
from node_agent.link.identity import Identity, IdentityStore
from node_agent.link.link import LinkStatus, NodeLink
from node_agent.spool.spool import Spool
from orquanta.v1 import health_pb2, node_link_pb2, node_pb2, repair_pb2
from tests.node_agent.link.conftest import Join


@dataclass
class ScriptedHost:
    """A host that remembers what it is asked."""

    reports: list[node_link_pb2.MemberReport] = field(default_factory=list)
    orders: list[list[str]] = field(default_factory=list)
    acknowledged: list[tuple[str, int]] = field(default_factory=list)
    fences: list[float] = field(default_factory=list)
    servers: list[tuple[str, ...]] = field(default_factory=list)
    heeded: list[node_link_pb2.DesiredState] = field(default_factory=list)
    present: list[health_pb2.Condition] = field(default_factory=list)
    repair: repair_pb2.RepairReport | None = None
    statuses: list[LinkStatus] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    fail_first_order: bool = False
    hold: asyncio.Event | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def inventory(self) -> node_pb2.HostInventory:
        return node_pb2.HostInventory(hostname="host-1")

    def member_reports(self) -> Sequence[node_link_pb2.MemberReport]:
        return [r for r in self.reports if (r.allocation_id, r.rank) not in self.acknowledged]

    async def converge(
        self, members: Sequence[node_link_pb2.MemberAssignment], _stops: Sequence[node_link_pb2.MemberStop]
    ) -> None:
        self.orders.append([member.allocation_id for member in members])
        await self._note()
        if self.hold is not None:
            await self.hold.wait()
        if self.fail_first_order and len(self.orders) == 1:
            raise RuntimeError("the disk is on fire")

    async def acknowledge(self, allocation_id: str, rank: int) -> None:
        self.acknowledged.append((allocation_id, rank))
        await self._note()

    async def set_fence(self, boottime_seconds: float) -> None:
        self.fences.append(boottime_seconds)
        await self._note()

    async def extend_fence(self, boottime_seconds: float) -> None:
        if boottime_seconds > max(self.fences, default=0.0):
            await self.set_fence(boottime_seconds)

    def conditions(self) -> Sequence[health_pb2.Condition]:
        return self.present

    def repair_report(self) -> repair_pb2.RepairReport | None:
        return self.repair

    def policy_version(self) -> int:
        return 7

    async def heed(self, order: node_link_pb2.DesiredState) -> None:
        self.heeded.append(order)
        await self._note()

    def use_nats(self, servers: Sequence[str]) -> None:
        self.servers.append(tuple(servers))

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def _note(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def wait_for(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: bool(condition()))


@asynccontextmanager
async def spooling(directory: Path) -> AsyncIterator[Spool]:
    """Open a spool and let it work."""
    async with Spool(directory, SystemClock()) as spool:
        running = asyncio.ensure_future(spool.run())
        try:
            yield spool
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def make_link(
    store: IdentityStore,
    identity: Identity,
    host: ScriptedHost,
    spool: Spool,
    directory: Path,
    clock: Clock | None = None,
) -> NodeLink:
    return NodeLink(
        identities=store,
        identity=identity,
        host=host,
        records=spool,
        epoch=ControlEpoch(directory / "control_epoch.json"),
        clock=clock or SystemClock(),
        boot_clock=host,
        on_status=host.statuses.append,
        on_identity=host.identities.append,
    )


@asynccontextmanager
async def linked(
    joined: Join,
    store: IdentityStore,
    directory: Path,
    *,
    host: ScriptedHost | None = None,
    spool: Spool | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[tuple[NodeLink, ScriptedHost]]:
    """Run a link, with an empty spool unless one is given."""
    if spool is None:
        async with spooling(directory / "spool") as empty:
            async with linked(joined, store, directory, host=host, spool=empty, clock=clock) as parts:
                yield parts
            return
    host = host or ScriptedHost()
    identity = store.load() if store.is_joined() else await joined()
    link = make_link(store, identity, host, spool, directory, clock)
    running = asyncio.ensure_future(link.run())
    try:
        yield link, host
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
