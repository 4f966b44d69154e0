"""How long the lead takes to pass on, and how much two control planes write into one PostgreSQL.

Starts PostgreSQL, a cluster of three nats-servers, two control planes and two daemons with virtual GPUs, all real and
over TLS. In each round the leader is killed, and started again; then the one that leads is stopped with SIGSTOP, and
goes on later; then the NATS server is killed that leads the stream of the lease. Each time the clock starts before the
signal, a goal is submitted at once to the other control plane, and the clock stops when another epoch is in force and
when the goal's job has run; after a broker, goals are submitted one after another, and the slowest counts. Prints a
table and, last, one JSON object. The exit status is 1 if the target is missed.

    python -m bench.handover [--rounds 5]
"""

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from bench.figures import percentile, report
from control_plane.bus.client import Bus
from control_plane.clock import SystemClock
from control_plane.model.record import Noun
from control_plane.store.database import Store
from orquanta.client import AsyncClient
from orquanta.types.goals import GoalState
from tests.e2e.replicas import Replica, ReplicatedFleet
from tests.postgresql import running_postgresql

TARGET_SECONDS = 5.0
GOAL = "Run `echo done` on 1 H100 for 5 minutes"
ELECTION_SECONDS = 15.0
"""Longer than it takes NATS servers to choose another leader for a stream."""

CATCH_UP_SECONDS = 5.0
"""For a server that is back, before the next one is killed."""

WRITES = 4_000
WRITES_AT_ONCE = 64


@dataclass
class Figures:
    """Seconds of each round."""

    killed: list[float] = field(default_factory=list)
    killed_served: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    stopped_served: list[float] = field(default_factory=list)
    broker_served: list[float] = field(default_factory=list)


async def run(rounds: int) -> tuple[Figures, dict[int, float]]:
    """Measure."""
    figures = Figures()
    with (
        tempfile.TemporaryDirectory(prefix="orquanta-handover-", ignore_cleanup_errors=True) as directory,
        running_postgresql() as server,
        server.database() as url,
        server.database() as other,
    ):
        async with ReplicatedFleet(Path(directory), url) as fleet, Bus(fleet.endpoint()) as bus:
            first = fleet.replicas[0]
            admin = await fleet.client(first)
            await fleet.add_host(admin, first.server, "one", "8xH100")
            await fleet.add_host(admin, fleet.replicas[1].server, "two", "8xH100")
            await served(admin)  # what is imported at the first goal is not measured
            for number in range(rounds):
                await one_round(fleet, bus, figures)
                print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
        rates = {writers: await write_rate(other, writers) for writers in (1, 2)}
    return figures, rates


async def one_round(fleet: ReplicatedFleet, bus: Bus, figures: Figures) -> None:
    """Kill, stop, and kill a broker, once each."""
    leader, admin = await two(fleet)
    began = time.monotonic()
    leader.program.kill()
    await passed_on(fleet, admin, leader, began, figures.killed, figures.killed_served)
    await leader.start()
    leader, admin = await two(fleet)
    began = time.monotonic()
    leader.program.signal(signal.SIGSTOP)
    await passed_on(fleet, admin, leader, began, figures.stopped, figures.stopped_served)
    leader.program.signal(signal.SIGCONT)
    info = await bus.connection().jetstream.stream_info("KV_ORQ_REPLICAS")
    assert info.cluster is not None
    number = int(str(info.cluster.leader).rpartition("-")[2])
    fleet.nats.kill(number)
    figures.broker_served.append(await longest(admin))
    fleet.nats.start_one(number)
    await asyncio.sleep(CATCH_UP_SECONDS)


async def longest(admin: AsyncClient) -> float:
    """Submit one goal after another for a while; return the most seconds that one has taken."""
    most, until = 0.0, time.monotonic() + ELECTION_SECONDS
    while time.monotonic() < until:
        began = time.monotonic()
        await served(admin)
        most = max(most, time.monotonic() - began)
    return most


async def two(fleet: ReplicatedFleet) -> tuple[Replica, AsyncClient]:
    """Return the leader and a client of the other one, when both are there and have heard each other."""
    client = await fleet.client(fleet.replicas[1])
    while any(one.silent_seconds > 2 for one in (await client.agents.replicas()).replicas):  # noqa: ASYNC110 - remote
        await asyncio.sleep(0.2)
    leader = await fleet.leader(client)
    (other,) = [one for one in fleet.replicas if one is not leader]
    return leader, await fleet.client(other)


async def passed_on(
    fleet: ReplicatedFleet,
    admin: AsyncClient,
    leader: Replica,
    began: float,
    leads: list[float],
    goals: list[float],
) -> None:
    """Take the time until another leads, and until a goal that was submitted at once is served."""
    goal = asyncio.create_task(served(admin))
    await fleet.leader(admin, other_than=leader.name)
    leads.append(time.monotonic() - began)
    await goal
    goals.append(time.monotonic() - began)


async def served(admin: AsyncClient) -> None:
    """Submit a goal and wait until it is served."""
    goal = await admin.goals.create(GOAL)
    view = await admin.goals.wait(goal.id)
    assert view.goal.state is GoalState.SUCCEEDED, view.goal.status_reason


async def write_rate(url: str, writers: int) -> float:
    """Return the writes a second that so many processes make together, 64 waiting in each."""
    await (await Store.open(url, clock=SystemClock(), shared=True)).close()
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(writers, mp_context=get_context("spawn")) as pool:
        spans = await asyncio.gather(*(loop.run_in_executor(pool, _write, url) for _ in range(writers)))
    took = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return writers * WRITES / took


def _write(url: str) -> tuple[float, float]:
    async def write() -> tuple[float, float]:
        store = await Store.open(url, clock=SystemClock(), shared=True)
        left = iter(range(WRITES))

        async def some() -> None:
            for number in left:
                await store.write(lambda tx, number=number: tx.emit(Noun.JOB, f"j-{number}", "job.noted", "written"))  # type: ignore[misc] # a default

        began = time.time()
        await asyncio.gather(*(some() for _ in range(WRITES_AT_ONCE)))
        ended = time.time()
        await store.close()
        return began, ended

    return asyncio.run(write())


def show(figures: Figures, rates: dict[int, float]) -> bool:
    """Print what was found; return whether the target is met."""
    rows: dict[str, Sequence[float]] = {
        "leader killed: another leads": figures.killed,
        "leader killed: goal served": figures.killed_served,
        "leader stopped: another leads": figures.stopped,
        "leader stopped: goal served": figures.stopped_served,
        "broker of the lease killed: slowest goal": figures.broker_served,
    }
    print(f"{'seconds':42} {'P50':>7} {'most':>7} {'mean':>7}")
    for name, values in rows.items():
        print(f"{name:42} {percentile(values, 0.5):7.2f} {max(values):7.2f} {statistics.mean(values):7.2f}")
    for writers, rate in rates.items():
        print(f"{writers} control plane(s): {rate:,.0f} writes a second into one PostgreSQL")
    most = max(*figures.killed, *figures.stopped)
    met = most < TARGET_SECONDS
    found = {
        "killed_p50_s": round(percentile(figures.killed, 0.5), 2),
        "killed_max_s": round(max(figures.killed), 2),
        "stopped_p50_s": round(percentile(figures.stopped, 0.5), 2),
        "stopped_max_s": round(max(figures.stopped), 2),
        "killed_goal_served_p50_s": round(percentile(figures.killed_served, 0.5), 2),
        "stopped_goal_served_p50_s": round(percentile(figures.stopped_served, 0.5), 2),
        "broker_killed_slowest_goal_p50_s": round(percentile(figures.broker_served, 0.5), 2),
        "broker_killed_slowest_goal_max_s": round(max(figures.broker_served), 2),
        "writes_per_second_one": round(rates[1]),
        "writes_per_second_two": round(rates[2]),
        "rounds": len(figures.killed),
    }
    print(report("handover", found, {"killed_max_s": {"below": TARGET_SECONDS, "met": met}}))
    return met


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each fault happens")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    return 0 if show(*asyncio.run(run(options.rounds))) else 1


if __name__ == "__main__":
    sys.exit(main())
