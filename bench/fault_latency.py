"""How soon a line of the kernel log is known to the control plane, and how soon its repair is carried out.

Starts a real control plane with its own NATS and some daemons with virtual GPUs, over TLS, with the settings that they
have by default but for those that would keep a host from breaking a hundred times. Lines are written one at a time,
at irregular intervals, into each host's kernel log: a FIFO of its own, or /dev/kmsg with --kmsg, on one host then.

1. From the write of a line (XID 63, which asks for no repair) until its host has heard that it is in the books of the
   control plane: read, parsed, judged, spooled to disk, sent, committed to disk there, acknowledged. Also until a
   client that watches the nodes has been told of it.
2. From the write of a line (XID 119, which asks for a reset; no job runs there) until the host begins with the order:
   all of the above, then incident, governor, order, host. Also until the incident is in the books, by the control
   plane's clock, and until the first step of the repair begins, by the host's; they share the machine's clock.

Prints a table and, last, one JSON object. The exit status is 1 if a target is missed.

    python -m bench.fault_latency [--events 200] [--repairs 120] [--hosts 2] [--kmsg]
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from bench.figures import percentile, report
from orquanta.client import AsyncClient
from orquanta.gameday import kernel, local
from orquanta.gameday.fleet import Fleet, Host
from orquanta.types.nodes import GpuInventory, Node, NodeState

EVENT_P50_MS, EVENT_P99_MS, REPAIR_P99_MS = 10.0, 50.0, 150.0
GPUS = "8xH100"
KMSG_GPUS, KMSG_FIRST_GPU = "16xL4", 8
"""Few hosts have GPUs at the addresses of the later ones, so that nobody else takes the lines for their own."""
PATIENCE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 0.1
EVENT, REPAIR = 63, 119
KMSG_SETTINGS = {"kernel_log": str(kernel.KMSG), "allow_kmsg_injection": "true"}
TEXTS = {
    EVENT: "Row Remapper: New row marked for remapping, reset gpu to activate.",
    REPAIR: "Timeout after 6s of waiting for RPC response from GPU0 GSP!",
}
SETTINGS = {
    "out_of_service_fleet": "1000, 100%",
    "repair_flaps": "100",
    "repair_flap_seconds": "0.1",
}
CONFIG = """
canary_seconds = 0.1
[health]
lemon_repairs = 1000000
flap_raises = 1000000
"""


@dataclass(frozen=True)
class EventSample:
    """One event: milliseconds from the write of the line."""

    in_books: float
    watched: float


@dataclass(frozen=True)
class RepairSample:
    """One repair: milliseconds from the write of the line."""

    opened: float
    begun: float
    first_step: float


class Watch:
    """Follows all nodes, and lets others wait for what they show."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._waiting: list[tuple[Callable[[Node], bool], asyncio.Future[tuple[float, Node]]]] = []

    async def run(self) -> None:
        """Follow until cancelled."""
        async for node in self._client.nodes.watch():
            self.see(node)

    def see(self, node: Node) -> None:
        """Take note of a node as it is now."""
        now = time.time()
        for holds, found in self._waiting:
            if not found.done() and holds(node):
                found.set_result((now, node))

    @contextlib.asynccontextmanager
    async def expect(self, holds: Callable[[Node], bool]) -> AsyncIterator[asyncio.Future[tuple[float, Node]]]:
        """Give what will hold when the first node shows this, and the time; wait for it at the end of the block."""
        found: asyncio.Future[tuple[float, Node]] = asyncio.get_running_loop().create_future()
        self._waiting.append((holds, found))
        try:
            yield found
            async with asyncio.timeout(PATIENCE_SECONDS):
                await found
        finally:
            self._waiting = [entry for entry in self._waiting if entry[1] is not found]


class Bench:
    """The fleet under measurement."""

    def __init__(self, client: AsyncClient, watch: Watch, hosts: Sequence[Host], *, first_gpu: int) -> None:
        self._client = client
        self._watch = watch
        self._hosts = hosts
        self._first_gpu = first_gpu
        self._dice = random.Random(11)
        self._gpus: dict[str, list[GpuInventory]] = {}

    async def begin(self) -> None:
        """Learn which GPUs there are."""
        for host in self._hosts:
            node = await self._client.nodes.get(host.node_id)
            self._gpus[host.name] = [gpu.inventory for gpu in node.gpus][self._first_gpu :]

    async def event(self) -> EventSample:
        """Print a line that asks for no repair; return milliseconds until it is known."""
        host, gpu = await self._next()
        async with self._watch.expect(
            lambda node: any(one.code == EVENT and one.gpu_uuid == gpu.uuid for one in node.conditions)
        ) as found:
            written = write(host, kernel.xid(gpu, EVENT, TEXTS[EVENT]))
        seen, node = found.result()
        acknowledged = await self._acknowledged(host)
        condition = next(one.id for one in node.conditions if one.code == EVENT and one.gpu_uuid == gpu.uuid)
        async with self._watch.expect(lambda node: node.id == host.node_id and not node.conditions):
            await self._client.nodes.clear_condition(host.node_id, condition)
        return EventSample(in_books=_since(acknowledged, written), watched=(seen - written) * 1000)

    async def _acknowledged(self, host: Host) -> datetime:
        """Return when the host has heard that its newest event is in the books."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                state = (await local.status(host))["spool_state"]
                if state["acknowledged"] == state["last"]:
                    return datetime.fromisoformat(state["acknowledged_at"])

    async def repair(self) -> RepairSample:
        """Print a line that asks for a reset; return milliseconds until it is carried out."""
        host, gpu = await self._next()
        written = 0.0

        def begun(node: Node) -> bool:
            repair = node.repair
            return node.id == host.node_id and repair is not None and _after(repair.started_at, written) and written > 0

        async with self._watch.expect(begun) as found:
            written = write(host, kernel.xid(gpu, REPAIR, TEXTS[REPAIR]))
        incident_id = found.result()[1].incident_id
        async with self._watch.expect(lambda node: node.id == host.node_id and _serves(node)):
            self._watch.see(await self._client.nodes.get(host.node_id))
        incident = await self._client.incidents.get(incident_id)
        repair = incident.repairs[0]
        return RepairSample(
            opened=_since(incident.opened_at, written),
            begun=_since(repair.started_at, written),
            first_step=_since(repair.steps[0].started_at, written),
        )

    async def _next(self) -> tuple[Host, GpuInventory]:
        await asyncio.sleep(self._dice.uniform(0, LONGEST_PAUSE_SECONDS))
        host = self._dice.choice(self._hosts)
        return host, self._dice.choice(self._gpus[host.name])


def write(host: Host, line: str) -> float:
    """Have the kernel of a host print a line; return when, before the write."""
    priority = "<3>" if host.kernel_log == kernel.KMSG else ""
    data = f"{priority}{line}\n".encode()
    descriptor = os.open(host.kernel_log, os.O_WRONLY | os.O_NONBLOCK)
    try:
        written = time.time()
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    return written


def _since(moment: datetime | None, written: float) -> float:
    if moment is None:
        raise ValueError("it never happened")
    return (moment.timestamp() - written) * 1000


def _serves(node: Node) -> bool:
    return node.state is NodeState.READY and not node.incident_id


def _after(moment: datetime | None, written: float) -> bool:
    return moment is not None and moment.timestamp() >= written


async def run(options: argparse.Namespace) -> tuple[list[EventSample], list[RepairSample]]:
    """Return the samples of both measurements."""
    async with AsyncExitStack() as stack:
        if options.kmsg:
            await stack.enter_async_context(kernel.kmsg_alone())
        fleet = await stack.enter_async_context(Fleet(SETTINGS))
        client = await fleet.client()
        config = fleet.directory / "node.toml"
        config.write_text(CONFIG)
        settings = {"config": str(config)} | (KMSG_SETTINGS if options.kmsg else {})
        count = 1 if options.kmsg else options.hosts
        gpus = KMSG_GPUS if options.kmsg else GPUS
        hosts = [await fleet.add_host(client, f"host-{number}", gpus, settings=settings) for number in range(count)]
        watch = Watch(client)
        watching = asyncio.ensure_future(watch.run())
        stack.callback(watching.cancel)
        bench = Bench(client, watch, hosts, first_gpu=KMSG_FIRST_GPU if options.kmsg else 0)
        await bench.begin()
        for _ in range(options.warm_up):
            await bench.event()
        events = [await bench.event() for _ in range(options.events)]
        print(f"{len(events)} events measured", file=sys.stderr, flush=True)
        await bench.repair()
        repairs = []
        for number in range(options.repairs):
            repairs.append(await bench.repair())
            if number % 20 == 0:
                print(f"repair {number + 1}: begun after {repairs[-1].begun:.0f} ms", file=sys.stderr, flush=True)
        return events, repairs


def show(events: Sequence[EventSample], repairs: Sequence[RepairSample], *, kmsg: bool) -> bool:
    """Print the table and the JSON line; return whether the targets are met."""
    rows = {
        "event in the books, and its host knows": [one.in_books for one in events],
        "event told to a watching client": [one.watched for one in events],
        "incident in the books": [one.opened for one in repairs],
        "host begins with the order": [one.begun for one in repairs],
        "first step of the repair": [one.first_step for one in repairs],
    }
    print(f"{'since the kernel printed the line, ms':<42}{'P50':>8}{'P90':>8}{'P99':>8}{'max':>8}{'samples':>9}")
    for name, values in rows.items():
        numbers = [percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)]
        print(f"{name:<42}" + "".join(f"{number:>8.1f}" for number in numbers) + f"{len(values):>9}")
    begun, booked = rows["host begins with the order"], rows["event in the books, and its host knows"]
    watched = rows["event told to a watching client"]
    figures = {
        "event_p50_ms": round(percentile(booked, 0.5), 2),
        "event_p99_ms": round(percentile(booked, 0.99), 2),
        "event_watched_p50_ms": round(percentile(watched, 0.5), 2),
        "event_watched_p99_ms": round(percentile(watched, 0.99), 2),
        "incident_p50_ms": round(percentile(rows["incident in the books"], 0.5), 2),
        "repair_begun_p50_ms": round(percentile(begun, 0.5), 2),
        "repair_begun_p99_ms": round(percentile(begun, 0.99), 2),
        "repair_first_step_p50_ms": round(percentile(rows["first step of the repair"], 0.5), 2),
        "repair_first_step_p99_ms": round(percentile(rows["first step of the repair"], 0.99), 2),
        "events": len(events),
        "repairs": len(repairs),
        "kernel_log": str(kernel.KMSG) if kmsg else "FIFO",
        "load_average": round(os.getloadavg()[0], 2),
    }
    bounds = {"event_p50_ms": EVENT_P50_MS, "event_p99_ms": EVENT_P99_MS, "repair_begun_p99_ms": REPAIR_P99_MS}
    measured = {
        "event_p50_ms": percentile(booked, 0.5),
        "event_p99_ms": percentile(booked, 0.99),
        "repair_begun_p99_ms": percentile(begun, 0.99),
    }
    targets = {name: {"at_most": bound, "met": measured[name] <= bound} for name, bound in bounds.items()}
    print(report("fault_latency", figures, targets))
    return all(measured[name] <= bound for name, bound in bounds.items())


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200, help="lines without a repair")
    parser.add_argument("--repairs", type=int, default=120, help="lines that ask for a repair; each takes seconds")
    parser.add_argument("--hosts", type=int, default=2, help="hosts with a daemon each")
    parser.add_argument("--warm-up", type=int, default=10, help="lines before those that count")
    parser.add_argument("--kmsg", action="store_true", help="use this machine's /dev/kmsg, on one host")
    options = parser.parse_args()
    if min(options.events, options.repairs, options.hosts) < 1 or options.warm_up < 0:
        parser.error("--events, --repairs and --hosts are at least 1, --warm-up at least 0")
    if options.kmsg and (obstacle := kernel.kmsg_obstacle()):
        parser.error(obstacle)
    return 0 if show(*asyncio.run(run(options)), kmsg=options.kmsg) else 1


if __name__ == "__main__":
    sys.exit(main())
