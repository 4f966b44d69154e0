"""Packing where jobs come and go: how much of the fleet is held in the mean, through the class of production.

Tasks of a list of the openb trace arrive one a tick and stay for times drawn from an exponential distribution, so long
that 130 % of the GPUs would be held if all found room; what finds none is dropped. Measured after the first third.
Every policy learns as tasks arrive. Prints a line a policy, and last one JSON object.

    python -m bench.packing_departures [--list default,multigpu50] [--policy value,fgd] [--seeds 1-2] [--arrivals 30000]
"""

import argparse
import heapq
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.figures import machine
from bench.packing import DATA, NODES_FILE, parse_policies, parse_seeds
from bench.packing_hosts import HostsPlacer, request_of
from bench.packing_protocol import POLICIES, TraceError, read_nodes, read_tasks
from control_plane.fleet.placement.packing.model import Node, Task
from control_plane.model.ids import AllocationId

LOAD = 1.3
COMPARED = [name for name in POLICIES if name != "plain"]  # nothing is rehearsed here


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run, in percent: GPUs held in the mean, and tasks that found no room."""

    held: float
    refused: float


def run(nodes: Sequence[Node], tasks: Sequence[Task], policy: str, seed: int, arrivals: int) -> Outcome:
    """One run. Policies of a seed see the same tasks, the same times and the same order of hosts."""
    chance = np.random.default_rng(seed)
    requests = [request_of(task) for task in tasks]
    sizes = [request.gpu_milli / 1_000 or request.gpu_count for request in requests]
    capacity = sum(node.gpu_count for node in nodes)
    placer = HostsPlacer([nodes[at] for at in chance.permutation(len(nodes))], policy, seed)
    drawn = chance.integers(len(requests), size=arrivals).tolist()
    stays = chance.exponential(LOAD * capacity / statistics.fmean(sizes), size=arrivals).tolist()
    ends: list[tuple[float, AllocationId, float]] = []
    held = total = 0.0
    refused = measured = 0
    for tick, (at, stay) in enumerate(zip(drawn, stays, strict=True)):
        while ends and ends[0][0] <= tick:
            _, gone, size = heapq.heappop(ends)
            placer.hosts.drop(gone)
            held -= size
        placer.history.note(requests[at])
        started = placer.start(requests[at])
        if started is not None:
            heapq.heappush(ends, (tick + stay, started, sizes[at]))
            held += sizes[at]
        if tick >= arrivals // 3:
            measured += 1
            total += held
            refused += started is None
    return Outcome(100 * total / measured / capacity, 100 * refused / measured)


def main(arguments: Sequence[str]) -> int:
    """Run all and print."""
    parser = argparse.ArgumentParser(description="Packing where jobs come and go.")
    parser.add_argument("--list", default="default,multigpu50", help="lists of the trace, between commas")
    parser.add_argument("--policy", type=parse_policies, default=COMPARED, help=f"some of {','.join(COMPARED)}")
    parser.add_argument("--seeds", type=parse_seeds, default=(1, 2), help="such as 1-2")
    parser.add_argument("--arrivals", type=int, default=30_000, help="tasks that arrive in a run")
    options = parser.parse_args(arguments)
    found: dict[str, dict[str, dict[str, float]]] = {}
    try:
        nodes = read_nodes(DATA / NODES_FILE)
        for name in options.list.split(","):
            tasks = read_tasks(DATA / f"openb_pod_list_{name}.csv")
            for policy in options.policy:
                runs = [run(nodes, tasks, policy, seed, options.arrivals) for seed in options.seeds]
                held, refused = (
                    statistics.fmean(one.held for one in runs),
                    statistics.fmean(one.refused for one in runs),
                )
                found.setdefault(name, {})[policy] = {"held": round(held, 2), "refused": round(refused, 2)}
                print(f"{name:<12}{policy:<10}{held:6.2f} % held{refused:7.2f} % refused", flush=True)
    except TraceError as error:
        print(f"packing_departures: {error}", file=sys.stderr)
        return 2
    print(
        json.dumps({"name": "packing_departures", "figures": found, "seeds": list(options.seeds), "machine": machine()})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
