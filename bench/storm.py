"""What a storm of faults costs the control plane: from what hosts say to the orders that wait to be sent to them.

Has the parts of a control plane that a fault passes in this process, on a database of its own, without a network: the
links' inboxes, the loops that write and dispatch, the healing agent, the governor. XID 119 is said by all hosts at one
moment. CPU is that of each thread, for each node; they share one interpreter, so what counts is their sum. Until
the last node is cordoned and until the last order waits to be sent are seconds on the wall, which others on the machine
make longer.

Prints a table and, last, one JSON object. The exit status is 1 if a target is missed. --profile says where the time of
the threads goes that write, or read.

    python -m bench.storm [--hosts 1000] [--bounded] [--database URL] [--profile store-write]
"""

import argparse
import asyncio
import cProfile
import os
import pstats
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from bench.figures import report
from bench.storm_hosts import fault, inventory, node
from control_plane.agents.incidents.agent import Incidents
from control_plane.clock import Clock, SystemClock
from control_plane.fleet.prices import PriceTable
from control_plane.governor import hosts
from control_plane.governor.defaults import JobDefaults
from control_plane.governor.governor import Governor
from control_plane.governor.ruling import Limits
from control_plane.heap import Heap
from control_plane.model.bounds import Bound, BoundScope
from control_plane.model.identity import CertificateSerial, NodePrincipal
from control_plane.model.ids import NODE, NodeId, derived_id
from control_plane.model.record import Noun
from control_plane.services.link_answers import LateAnswers
from control_plane.services.link_dispatch import LinkDispatch
from control_plane.services.link_health_writer import LinkHealthWriter
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession
from control_plane.services.link_terms import LinkTerms
from control_plane.store import bounds, nodes
from control_plane.store.database import Store, Tx
from control_plane.store.feed import EventFeed
from control_plane.urgency import Urgency

CPU_MS_PER_NODE = 2.0
PATIENCE_SECONDS = 60.0
BOUNDED_SECONDS = 10.0
FREE = {scope: Bound(1_000_000, 100.0) for scope in BoundScope}
DEFAULTS = {
    BoundScope.FLEET: Bound(50, 10.0),
    BoundScope.POOL: Bound(25, 20.0),
    BoundScope.RACK: Bound(8, 34.0),
    BoundScope.JOB: Bound(2, 50.0),
    BoundScope.TENANT: Bound(10, 34.0),
}


class Fleet:
    """Hosts whose links are up, and what the control plane has for them."""

    def __init__(self, store: Store, clock: Clock, number: int, urgency: Urgency) -> None:
        self._store = store
        self._clock = clock
        self.names = {derived_id(NODE, f"host-{index}"): f"host-{index}" for index in range(number)}
        self.sessions: dict[NodeId, LinkSession] = {}
        self.registry = LinkRegistry(clock=clock)
        self.answers = LateAnswers(urgency)
        self.health = LinkHealthWriter(store, self.answers, urgency=urgency)

    async def join(self, limits: dict[BoundScope, Bound]) -> None:
        """Put every host into the books, and its link into the registry."""

        def write(tx: Tx) -> None:
            bounds.save(tx, limits, changed_by="bench")
            for index, (node_id, name) in enumerate(self.names.items()):
                nodes.insert(tx, node(node_id, name, index, self._clock.now()))
                hosts.node_connected(tx, node_id, inventory(name), zombies=0)

        await self._store.write(write)
        for node_id in self.names:
            session = LinkSession(
                NodePrincipal(node_id, CertificateSerial("1")),
                "boot",
                clock=self._clock,
                terms=LinkTerms(lease_seconds=3600.0),
                registry=self.registry,
                answers=self.answers,
                changed=lambda _: None,
                health_changed=self.health.changed,
            )
            session.welcomed = True
            self.registry.add(session)
            self.sessions[node_id] = session

    def begin(self) -> None:
        """Have all hosts say what is wrong with them."""
        for node_id, session in self.sessions.items():
            session.take(fault(self.names[node_id], self._clock.now()))

    async def ordered(self, node_id: NodeId) -> float:
        """Wait until an order is to be sent to a host; return when that was."""
        outbox, news = self.sessions[node_id].outbox, asyncio.Event()
        outbox.on_news = news.set
        while not outbox.closed:
            news.clear()
            for response in outbox.take():
                if response.desired_state.HasField("repair"):
                    return time.monotonic()
            await news.wait()
        raise ConnectionError(f"the link of {self.names[node_id]} has ended")


class Books:
    """Follows the events of the storm: when nodes were cordoned, and how many were out of service at once."""

    def __init__(self, feed: EventFeed) -> None:
        self._feed = feed
        self._out: set[str] = set()
        self.cordoned_at: dict[str, float] = {}
        self.most_out = 0

    async def follow(self) -> None:
        """Follow until cancelled."""
        seen = self._feed.newest
        out = {f"node.{state}" for state in ("draining", "repairing", "verifying", "quarantined")}
        while True:
            seen, found = await self._feed.beyond(seen)
            for event in found or ():
                if event.noun is Noun.NODE and event.kind in out:
                    self._out.add(event.id)
                    self.cordoned_at.setdefault(event.id, time.monotonic())
            self.most_out = max(self.most_out, len(self._out))


class Cpu:
    """CPU seconds of this process's threads, by what they do."""

    def __init__(self) -> None:
        self._before = _thread_seconds()
        self._whole = time.process_time()

    def per_node_ms(self, number: int) -> dict[str, float]:
        """Return milliseconds for each node since this was made."""
        now = _thread_seconds()
        spent: dict[str, float] = {}
        for (name, native_id), seconds in now.items():
            spent[name] = spent.get(name, 0.0) + seconds - self._before.get((name, native_id), 0.0)
        told = {f"{name}_ms": round(1000 * seconds / number, 3) for name, seconds in spent.items()}
        return told | {"cpu_ms": round(1000 * (time.process_time() - self._whole) / number, 3)}


def _thread_seconds() -> dict[tuple[str, int], float]:
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for thread in threading.enumerate():
        fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
        kind = {"store-write": "write", "store-read": "read", "MainThread": "loop"}
        name = next((told for prefix, told in kind.items() if thread.name.startswith(prefix)), "other")
        found[name, thread.native_id or 0] = (int(fields[11]) + int(fields[12])) / ticks
    return found


async def measure(url: str, options: argparse.Namespace) -> dict[str, object]:
    """Return the figures of one storm."""
    clock = SystemClock()
    store = await Store.open(url, clock=clock)
    urgency = Urgency()  # of all parts together, as in a control plane
    fleet = Fleet(store, clock, options.hosts, urgency)
    await fleet.join(DEFAULTS if options.bounded else FREE)
    governor = Governor(
        store,
        limits=Limits(approval_above_usd=Decimal(1000), max_gpus_per_user=64),
        defaults=JobDefaults(max_runtime_seconds=3600, stop_grace_seconds=10, max_attempts=3),
        prices=PriceTable(),
    )
    feed = store.feed
    books = Books(feed)
    dispatch = LinkDispatch(store, feed, fleet.registry, None, None, clock=clock)  # type: ignore[arg-type] # no jobs here
    running = [
        asyncio.create_task(one)
        for one in (
            Heap(clock, urgent=lambda: urgency.is_urgent).run(),
            fleet.health.run(),
            fleet.answers.run(),
            dispatch.run(),
            Incidents(store, governor, urgency=urgency).run(),
            books.follow(),
        )
    ]
    await asyncio.sleep(2.0)  # so that what begins with a process is behind it
    await store.write(_profile_anew)  # without how the hosts were made
    cpu, began = Cpu(), time.monotonic()
    fleet.begin()
    waits = [asyncio.create_task(fleet.ordered(node_id)) for node_id in fleet.names]
    done, pending = await asyncio.wait(waits, timeout=BOUNDED_SECONDS if options.bounded else PATIENCE_SECONDS)
    for one in running:
        if one.done():
            one.result()  # it runs until it is cancelled: say why it has not
    spent = cpu.per_node_ms(options.hosts)
    orders = sorted(one.result() - began for one in done)
    cordons = sorted(at - began for at in books.cordoned_at.values())
    for task in (*running, *pending):
        task.cancel()
    await asyncio.gather(*running, *pending, return_exceptions=True)
    await store.close()
    return {
        "hosts": options.hosts,
        "ordered": len(orders),
        "cordoned": len(cordons),
        "most_out": books.most_out,
        "first_cordon_s": round(cordons[0], 3),
        "last_cordon_s": round(cordons[-1], 3),
        "first_order_s": round(orders[0], 3),
        "last_order_s": round(orders[-1], 3),
        **spent,
    }


_PROFILES: dict[int, cProfile.Profile] = {}
"""By thread."""


def _profile_anew(_: Tx) -> None:
    """Forget where the time of this thread has gone so far."""
    profile = _PROFILES.get(threading.get_ident())
    if profile is not None:
        profile.disable()
        profile.clear()
        profile.enable()


@contextmanager
def profiled(wanted: str) -> Iterator[None]:
    """Say at the end where the time of the threads has gone that begin inside and whose name begins so."""
    if not wanted:
        yield
        return

    def begin(*_: object) -> None:
        if threading.current_thread().name.startswith(wanted):
            profile = cProfile.Profile()
            _PROFILES[threading.get_ident()] = profile
            profile.enable()

    threading.setprofile(begin)
    try:
        yield
    finally:
        threading.setprofile(None)
        for order in ("cumulative", "tottime"):
            pstats.Stats(*_PROFILES.values()).sort_stats(order).print_stats(90)


def main() -> int:
    """Measure, print, and tell whether the target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--bounded", action="store_true", help="with the default bounds of the blast radius")
    parser.add_argument("--database", default="", help="an empty database; SQLite in a temporary folder by default")
    parser.add_argument("--profile", choices=("", "store-write", "store-read"), default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, profiled(options.profile):
        figures = asyncio.run(measure(options.database or f"sqlite:///{folder}/storm.db", options))
    for name, value in figures.items():
        print(f"{name:16} {value}")
    least = 1 if options.bounded else options.hosts  # a node that was passed over costs nothing
    whole = all(int(str(figures[name])) >= least for name in ("ordered", "cordoned"))
    print(report("storm", figures, {"cpu_ms": CPU_MS_PER_NODE, "ordered": least, "cordoned": least}))
    return int(not whole or float(str(figures["cpu_ms"])) > CPU_MS_PER_NODE)


if __name__ == "__main__":
    sys.exit(main())
