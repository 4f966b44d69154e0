"""How many placements a second the class of production decides, on fleets that are full and change.

Fleets of 1,213 hosts (those of the openb trace) and of 10,000 (the same hosts again). Tasks of the trace's mix arrive
in an order drawn from the seed until one in ten finds no room; then, for each that is placed, as much leaves as it
takes, and one for each that is not, so that the fleet stays full and changes. A decision is a search, what it takes,
and what leaves; what is expected of the future is learned from what has arrived. Times are of one core: the processor
time of this process, so that others on the machine do not count. Prints a table and last one JSON object. The exit
status is 1 if a target is missed.

At last the queue decides: 100,000 jobs wait for the largest fleet, which fills; then, each round, some end and others
start.

    python -m bench.placement [--hosts 1213,10000] [--decisions 20000] [--queued 100000] [--seed 42]
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.figures import machine, percentile
from bench.packing import DATA, DEFAULT_LIST, NODES_FILE
from bench.packing_hosts import HostsPlacer, request_of
from bench.packing_protocol import TraceError, read_nodes, read_tasks
from bench.placement_queue import measure_queue
from control_plane.fleet.placement.packing.model import Node
from control_plane.model.ids import AllocationId
from control_plane.model.job import ResourceRequest

TARGET_PER_SECOND = 2_000
_WINDOW = 500  # arrivals over which refusals are counted
_FULL_PERCENT = 10  # of them refused: the fleet is full
_MAX_ARRIVALS = 2_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured on one fleet. Times are of one decision."""

    hosts: int
    gpus: int
    allocated_percent: float
    filling_per_second: float
    full_per_second: float
    placed_per_second: float  # of those that found room alone
    p50_ms: float
    p99_ms: float
    max_ms: float
    placed_percent: float


class Fleet:
    """A fleet, the tasks that arrive, and those that are there."""

    def __init__(self, nodes: Sequence[Node], copies: int, requests: Sequence[ResourceRequest], seed: int) -> None:
        self.placer = HostsPlacer(many(nodes, copies), "value", seed)
        self.gpus = sum(node.gpu_count for node in many(nodes, copies))
        self._requests = requests
        self._chance = np.random.default_rng(seed)
        self._running: list[tuple[AllocationId, float]] = []
        self.held = 0.0

    def arrive(self) -> tuple[ResourceRequest, bool]:
        """One task arrives, is noted, and is placed if there is room."""
        request = self._requests[int(self._chance.integers(len(self._requests)))]
        self.placer.history.note(request)
        started = self.placer.start(request)
        if started is not None:
            size = request.gpu_milli / 1_000 or request.gpu_count
            self._running.append((started, size))
            self.held += size
        return request, started is not None

    def leave(self) -> None:
        """One task, drawn from all that run, leaves."""
        at = int(self._chance.integers(len(self._running)))
        self._running[at], self._running[-1] = self._running[-1], self._running[at]
        gone, size = self._running.pop()
        self.placer.hosts.drop(gone)
        self.held -= size

    @property
    def running(self) -> int:
        """How many tasks are there."""
        return len(self._running)


def many(nodes: Sequence[Node], count: int) -> list[Node]:
    """So many nodes: the given ones again and again, under names of their own."""
    return [
        Node(f"{node.name}-{number // len(nodes)}", node.cpu_milli, node.memory_mib, node.gpu_count, node.gpu_model)
        for number in range(count)
        for node in [nodes[number % len(nodes)]]
    ]


def fill(fleet: Fleet) -> int:
    """Let tasks arrive until the fleet is full; returns how many did."""
    refused = 0
    for arrived in range(1, _MAX_ARRIVALS + 1):
        refused += not fleet.arrive()[1]
        if arrived % _WINDOW == 0:
            if refused * 100 >= _WINDOW * _FULL_PERCENT:
                return arrived
            refused = 0
    raise TraceError("the tasks never fill the fleet; give fewer hosts")


def measure(
    nodes: Sequence[Node], hosts: int, requests: Sequence[ResourceRequest], decisions: int, seed: int
) -> Figures:
    """Fill a fleet, keep it full, and time each decision."""
    fleet = Fleet(nodes, hosts, requests, seed)
    began = time.process_time()
    arrived = fill(fleet)
    filling = time.process_time() - began
    level, times, of_placed = fleet.held, list[float](), list[float]()
    for _ in range(decisions):
        began = time.process_time()
        _, found = fleet.arrive()
        while fleet.held > level:
            fleet.leave()
        if not found:
            fleet.leave()
        times.append(time.process_time() - began)
        if found:
            of_placed.append(times[-1])
    return Figures(
        hosts=hosts,
        gpus=fleet.gpus,
        allocated_percent=round(100 * fleet.held / fleet.gpus, 2),
        filling_per_second=round(arrived / filling),
        full_per_second=round(decisions / sum(times)),
        placed_per_second=round(len(of_placed) / sum(of_placed)),
        p50_ms=round(1_000 * percentile(times, 0.5), 3),
        p99_ms=round(1_000 * percentile(times, 0.99), 3),
        max_ms=round(1_000 * max(times), 1),
        placed_percent=round(100 * len(of_placed) / decisions, 1),
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Placements a second on full fleets that change.")
    parser.add_argument("--hosts", default="1213,10000", help="sizes of fleets, between commas")
    parser.add_argument("--decisions", type=int, default=20_000, help="decisions timed on each full fleet")
    parser.add_argument("--queued", type=int, default=100_000, help="jobs that wait for the largest fleet; 0 for none")
    parser.add_argument("--seed", type=int, default=42, help="of the order of arrivals")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and say whether the targets were met."""
    options = parse(arguments)
    try:
        nodes = read_nodes(DATA / NODES_FILE)
        requests = [request_of(task) for task in read_tasks(DATA / f"{DEFAULT_LIST}.csv")]
    except TraceError as error:
        print(f"placement: {error}", file=sys.stderr)
        return 2
    print("  hosts    GPUs  held %  filling/s  full/s  placed/s  p50 ms  p99 ms  max ms  placed %")
    found = []
    sizes = [int(text) for text in options.hosts.split(",")]
    for hosts in sizes:
        one = measure(nodes, hosts, requests, options.decisions, options.seed)
        found.append(one)
        print(
            f"{one.hosts:7}{one.gpus:8}{one.allocated_percent:8.2f}{one.filling_per_second:11.0f}"
            f"{one.full_per_second:8.0f}{one.placed_per_second:10.0f}{one.p50_ms:8.3f}{one.p99_ms:8.3f}{one.max_ms:8.1f}{one.placed_percent:10.1f}",
            flush=True,
        )
    missed = [
        f"{one.hosts} hosts: {slowest:.0f} decisions a second, {TARGET_PER_SECOND} wanted"
        for one in found
        if (slowest := min(one.full_per_second, one.filling_per_second, one.placed_per_second)) < TARGET_PER_SECOND
    ]
    queue = measure_queue(many(nodes, max(sizes)), requests, options.queued, options.seed) if options.queued else None
    if queue is not None:
        print(
            f"{queue.queued} jobs queued for {queue.hosts} hosts: {queue.put_per_second:.0f} put a second; the queue"
            f" places {queue.filled}, {queue.filled_per_second:.0f} a second; with {queue.waiting} still waiting, a"
            f" round in which {queue.ends_each_round} jobs end and {queue.placed_each_round:.1f} start takes"
            f" {queue.round_p50_ms:.1f} ms, at most {queue.round_max_ms:.1f}, and one in which nothing has changed"
            f" {queue.idle_round_ms:.1f} ms"
        )
        if queue.filled_per_second < TARGET_PER_SECOND:
            missed.append(f"the queue places {queue.filled_per_second:.0f} a second, {TARGET_PER_SECOND} wanted")
    for miss in missed:
        print(f"missed: {miss}")
    print(
        json.dumps(
            {
                "name": "placement",
                "figures": {"fleets": [asdict(one) for one in found], "queue": asdict(queue) if queue else None},
                "targets": {"decisions_per_second": TARGET_PER_SECOND},
                "missed": missed,
                "machine": machine(),
            }
        )
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
