"""How fast the queue decides and how fast it is simulated, on the hosts and the mix of jobs of the openb trace.

Jobs of many users wait, so that there are about as many groups as jobs; the fleet fills; then, each time, one claim is
freed and the queue decides once. At last a simulation lets jobs arrive a little faster than the fleet can serve them.
Times are the processor time of this process, so that others on the machine count little. Prints a line for each and
last one JSON object. The exit status is 1 if a target is missed.

    python -m bench.queue [--hosts 1000] [--queued 28000] [--users 2000] [--decisions 50]
                          [--simulated 2000] [--simulated-hosts 50] [--seed 42]
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
from bench.packing_hosts import host_of, request_of
from bench.packing_protocol import TraceError, read_nodes, read_tasks
from bench.placement import many
from bench.placement_queue import Filled
from control_plane.fleet.placement.packing.model import Node
from control_plane.fleet.queueing.simulate import simulate
from control_plane.fleet.queueing.simulate_model import SimulatedJob, Simulation
from control_plane.model.job import ResourceRequest

DECIDE_MS, FILLED_PER_SECOND, SIMULATED_PER_SECOND = 20, 2_000, 1_000
_MEAN_SECONDS = 7_200  # of a simulated job
_LOAD = 1.2  # what arrives, in parts of what the fleet can serve


@dataclass(frozen=True, slots=True)
class DecideFigures:
    """One decision after one claim was freed, and the filling of the fleet before."""

    hosts: int
    queued: int
    users: int
    filled: int
    filled_per_second: float
    waiting: int
    decide_mean_ms: float
    decide_p50_ms: float
    decide_max_ms: float


@dataclass(frozen=True, slots=True)
class SimulateFigures:
    """One simulation."""

    hosts: int
    jobs: int
    finished: int
    utilization: float
    seconds: float
    jobs_per_second: float


def measure_decide(
    nodes: Sequence[Node], requests: Sequence[ResourceRequest], options: argparse.Namespace
) -> DecideFigures:
    """Fill the fleet, then free one claim and decide, again and again."""
    filled = Filled(many(nodes, options.hosts), requests, options.queued, options.seed, options.users)
    filled.submit()
    began, started = time.process_time(), 0
    while more := filled.round():
        started += more
    filling, waiting, times = time.process_time() - began, len(filled.queue.jobs()), list[float]()
    for _ in range(options.decisions):
        filled.end(1)
        began = time.process_time()
        filled.round()
        times.append(time.process_time() - began)
    return DecideFigures(
        hosts=options.hosts,
        queued=options.queued,
        users=options.users,
        filled=started,
        filled_per_second=round(started / filling),
        waiting=waiting,
        decide_mean_ms=round(1_000 * sum(times) / len(times), 1),
        decide_p50_ms=round(1_000 * percentile(times, 0.5), 1),
        decide_max_ms=round(1_000 * max(times), 1),
    )


def simulation(
    nodes: Sequence[Node], requests: Sequence[ResourceRequest], hosts: int, jobs: int, seed: int
) -> Simulation:
    """Jobs of the trace's mix, with time limits, that arrive by chance."""
    chance, fleet = np.random.default_rng(seed), tuple(host_of(node) for node in many(nodes, hosts))
    sizes = [request.gpu_milli / 1000 or request.gpu_count for request in requests]
    gap = float(np.mean(sizes)) * _MEAN_SECONDS / sum(len(host.slots) for host in fleet) / _LOAD
    arrives = np.cumsum(chance.exponential(gap, size=jobs)).tolist()
    runs = chance.exponential(_MEAN_SECONDS, size=jobs).tolist()
    drawn = chance.integers(len(requests), size=jobs).tolist()
    return Simulation(
        fleet,
        tuple(
            SimulatedJob(
                f"j{at}",
                arrives[at],
                runs[at],
                requests[one],
                user=f"user-{one % 50}",
                max_runtime_seconds=60 + int(1.5 * runs[at]),
            )
            for at, one in enumerate(drawn)
        ),
    )


def measure_simulation(given: Simulation) -> SimulateFigures:
    """Simulate once."""
    began = time.process_time()
    found = simulate(given)
    seconds = time.process_time() - began
    return SimulateFigures(
        hosts=len(given.hosts),
        jobs=len(given.jobs),
        finished=found.jobs_finished,
        utilization=round(found.utilization, 3),
        seconds=round(seconds, 1),
        jobs_per_second=round(len(given.jobs) / seconds),
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Decisions of the queue, and simulations of it.")
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--queued", type=int, default=28_000, help="jobs, of which some fill the fleet")
    parser.add_argument("--users", type=int, default=2_000, help="whose jobs they are")
    parser.add_argument("--decisions", type=int, default=50, help="timed, each after one claim was freed")
    parser.add_argument("--simulated", type=int, default=2_000, help="jobs that are simulated")
    parser.add_argument("--simulated-hosts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and say whether the targets were met."""
    options = parse(arguments)
    try:
        nodes = [node for node in read_nodes(DATA / NODES_FILE) if node.gpu_count]
        requests = [request_of(task) for task in read_tasks(DATA / f"{DEFAULT_LIST}.csv")]
    except TraceError as error:
        print(f"queue: {error}", file=sys.stderr)
        return 2
    decide = measure_decide(nodes, requests, options)
    print(
        f"{decide.filled} jobs placed on {decide.hosts} hosts, {decide.filled_per_second:.0f} a second; with"
        f" {decide.waiting} still waiting, a decision after one claim was freed takes {decide.decide_mean_ms:.1f} ms,"
        f" {decide.decide_p50_ms:.1f} in the middle and at most {decide.decide_max_ms:.1f}",
        flush=True,
    )
    simulated = measure_simulation(
        simulation(nodes, requests, options.simulated_hosts, options.simulated, options.seed)
    )
    print(
        f"{simulated.jobs} jobs simulated on {simulated.hosts} hosts in {simulated.seconds:.1f} s,"
        f" {simulated.jobs_per_second:.0f} a second; {simulated.utilization:.0%} of the GPUs were used"
    )
    missed = [
        text
        for text, is_missed in (
            (f"a decision takes {decide.decide_mean_ms} ms, {DECIDE_MS} wanted", decide.decide_mean_ms > DECIDE_MS),
            (
                f"{decide.filled_per_second} placed a second, {FILLED_PER_SECOND} wanted",
                decide.filled_per_second < FILLED_PER_SECOND,
            ),
            (
                f"{simulated.jobs_per_second} jobs simulated a second, {SIMULATED_PER_SECOND} wanted",
                simulated.jobs_per_second < SIMULATED_PER_SECOND,
            ),
        )
        if is_missed
    ]
    for miss in missed:
        print(f"missed: {miss}")
    print(
        json.dumps(
            {
                "name": "queue",
                "figures": {"decide": asdict(decide), "simulation": asdict(simulated)},
                "targets": {
                    "decide_mean_ms": DECIDE_MS,
                    "filled_per_second": FILLED_PER_SECOND,
                    "simulated_jobs_per_second": SIMULATED_PER_SECOND,
                },
                "missed": missed,
                "machine": machine(),
            }
        )
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
