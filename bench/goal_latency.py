"""How long a goal takes from its submission until its first job runs, as a person who watches it sees it.

Starts a real control plane with its own NATS and one daemon with 8 virtual GPUs, over TLS, with the settings that they
have by default. Submits goals in plain words one after another, each while GPUs are free: the clock starts before
`CreateGoal` is sent and stops when the watch of the goal tells that its job runs. The rule-based planner plans them.
Prints a table with where the time went and, last, one JSON object. The exit status is 1 if the target is missed.

    python -m bench.goal_latency [--goals 100] [--warm-up 10]
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bench.figures import percentile, report
from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet, FleetError
from orquanta.types.goals import GoalView
from orquanta.types.jobs import Job, JobState

TARGET_P50_MILLISECONDS = 300.0
GOAL = "Run `sleep {seconds:.2f}` on {gpus} H100 for {minutes} minutes, at most $40"
JOB_SECONDS = 0.3


@dataclass(frozen=True)
class Sample:
    """One goal: milliseconds from the submission until each step."""

    created: float
    answered: float
    placed: float
    started: float
    seen: float


async def run(options: argparse.Namespace) -> list[Sample]:
    """Return one sample for each goal after the warm-up."""
    samples = []
    async with Fleet({"approval_above_usd": "1000"}) as fleet:
        client = await fleet.client()
        await fleet.add_host(client, "host", "8xH100")
        for number in range(options.warm_up + options.goals):
            sample = await measure(client, number)
            if number >= options.warm_up:
                samples.append(sample)
            if number % 10 == 0:
                print(f"goal {number + 1}: running after {sample.seen:.0f} ms", file=sys.stderr, flush=True)
    return samples


async def measure(client: AsyncClient, number: int) -> Sample:
    """Submit one goal, watch it to its end."""
    text = GOAL.format(seconds=JOB_SECONDS, gpus=1 + number % 4, minutes=1 + number % 50)
    submitted = time.time()
    goal = await client.goals.create(text)
    answered = time.time()
    seen = 0.0
    last: GoalView | None = None
    async for view in client.goals.watch(goal.id):
        last = view
        if not seen and any(job.state is JobState.RUNNING for job in view.jobs):
            seen = time.time()
    if last is None or not seen:
        raise FleetError(f"the job of goal {goal.id} was never seen running: {last}")
    job: Job = last.jobs[0]
    allocation = job.allocations[-1]

    def since(moment: datetime | None) -> float:
        return ((moment.timestamp() if moment else 0.0) - submitted) * 1000

    return Sample(
        created=since(goal.created_at),
        answered=(answered - submitted) * 1000,
        placed=since(allocation.created_at),
        started=since(allocation.members[0].started_at),
        seen=(seen - submitted) * 1000,
    )


def show(samples: Sequence[Sample]) -> bool:
    """Print the table and the JSON line; return whether the target is met."""
    rows = {
        "goal planned and written": [one.created for one in samples],
        "CreateGoal answered": [one.answered for one in samples],
        "job placed on GPUs": [one.placed for one in samples],
        "process started on the host": [one.started for one in samples],
        "watching client sees it run": [one.seen for one in samples],
    }
    print(f"{'since the submission, ms':<30}{'P50':>8}{'P90':>8}{'P99':>8}{'max':>8}")
    for name, values in rows.items():
        numbers = [percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)]
        print(f"{name:<30}" + "".join(f"{number:>8.0f}" for number in numbers))
    seen = rows["watching client sees it run"]
    median = percentile(seen, 0.5)
    met = median <= TARGET_P50_MILLISECONDS
    figures = {
        "goal_to_running_p50_ms": round(median, 1),
        "goal_to_running_p90_ms": round(percentile(seen, 0.9), 1),
        "goal_to_running_p99_ms": round(percentile(seen, 0.99), 1),
        "goal_to_running_mean_ms": round(statistics.mean(seen), 1),
        "answered_p50_ms": round(percentile(rows["CreateGoal answered"], 0.5), 1),
        "placed_p50_ms": round(percentile(rows["job placed on GPUs"], 0.5), 1),
        "started_on_host_p50_ms": round(percentile(rows["process started on the host"], 0.5), 1),
        "goals": len(samples),
    }
    targets = {"goal_to_running_p50_ms": {"at_most": TARGET_P50_MILLISECONDS, "met": met}}
    print(report("goal_latency", figures, targets))
    return met


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", type=int, default=100, help="goals that count, at least 50 for a fair P99")
    parser.add_argument("--warm-up", type=int, default=10, help="goals before those")
    options = parser.parse_args()
    if options.goals < 1 or options.warm_up < 0:
        parser.error("--goals is at least 1, --warm-up at least 0")
    return 0 if show(asyncio.run(run(options))) else 1


if __name__ == "__main__":
    sys.exit(main())
