"""What the daemon costs its host: memory and CPU with 8 virtual GPUs at one sample a second.

Starts a real control plane with its own NATS and one daemon, over TLS, with the settings that they have by default.
Measures the daemon's process through /proc, once with all GPUs idle and once with a job on each GPU that prints a
line a second. Prints a table and, last, one JSON object. The exit status is 1 if a target is missed while idle.

    python -m bench.daemon_footprint [--seconds 60]
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import report
from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet, FleetError
from orquanta.types.jobs import JobState

TARGET_RSS_MB = 60.0
TARGET_CPU_PERCENT = 1.0
GPUS = 8
GOAL = "Run `while true; do date; sleep 1; done` on 1 H100 for 30 minutes, at most $40"
_SETTLE_SECONDS = 5.0
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Footprint:
    """What one process used over a while; MB are 10^6 bytes."""

    rss_mb: float
    peak_rss_mb: float
    private_mb: float
    cpu_percent: float
    threads: int


def memory_mb(pid: int) -> tuple[float, float, int]:
    """Return the resident memory, its peak, and the number of threads."""
    values = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        values[name] = rest.split()
    kilobyte = 1024 / 1e6
    return int(values["VmRSS"][0]) * kilobyte, int(values["VmHWM"][0]) * kilobyte, int(values["Threads"][0])


def private_mb(pid: int) -> float:
    """Return the memory that no other process shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Return the processor time used so far by all threads, children not counted."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def observe(pid: int, seconds: float) -> Footprint:
    """Watch one process for a while."""
    await asyncio.sleep(_SETTLE_SECONDS)
    began, used = time.monotonic(), cpu_seconds(pid)
    highest = 0.0
    while (elapsed := time.monotonic() - began) < seconds:
        highest = max(highest, memory_mb(pid)[0])
        await asyncio.sleep(min(1.0, seconds - elapsed))
    cpu_percent = 100 * (cpu_seconds(pid) - used) / (time.monotonic() - began)
    rss, peak, threads = memory_mb(pid)
    return Footprint(max(highest, rss), peak, private_mb(pid), cpu_percent, threads)


async def occupy(client: AsyncClient) -> None:
    """Put a job that prints a line a second on each GPU."""
    for _ in range(GPUS):
        goal = await client.goals.create(GOAL)
        async with asyncio.timeout(_START_SECONDS):
            async for view in client.goals.watch(goal.id):
                if any(job.state is JobState.RUNNING for job in view.jobs):
                    break
            else:
                raise FleetError(f"goal {goal.id} ended before its job ran")


async def run(seconds: float) -> dict[str, Footprint]:
    """Measure the daemon idle, then busy."""
    async with Fleet({"approval_above_usd": "1000", "max_gpus_per_user": str(GPUS)}) as fleet:
        client = await fleet.client()
        host = await fleet.add_host(client, "host", f"{GPUS}xH100")
        idle = await observe(host.daemon.pid, seconds)
        await occupy(client)
        return {"idle": idle, "busy": await observe(host.daemon.pid, seconds)}


def show(found: dict[str, Footprint], seconds: float) -> bool:
    """Print the table and the JSON line; return whether the targets are met."""
    print(f"{'':<8}{'RSS MB':>9}{'peak MB':>9}{'private MB':>12}{'CPU %':>8}{'threads':>9}")
    figures: dict[str, object] = {"gpus": GPUS, "sample_interval_seconds": 1.0, "observed_seconds": seconds}
    for name, one in found.items():
        numbers: Sequence[float] = (one.rss_mb, one.peak_rss_mb, one.private_mb)
        print(f"{name:<8}" + "{:>9.1f}{:>9.1f}{:>12.1f}".format(*numbers) + f"{one.cpu_percent:>8.2f}{one.threads:>9}")
        figures |= {
            f"{name}_rss_mb": round(one.rss_mb, 1),
            f"{name}_peak_rss_mb": round(one.peak_rss_mb, 1),
            f"{name}_private_mb": round(one.private_mb, 1),
            f"{name}_cpu_percent_of_a_core": round(one.cpu_percent, 2),
        }
    idle = found["idle"]
    met = {"rss": idle.rss_mb <= TARGET_RSS_MB, "cpu": idle.cpu_percent <= TARGET_CPU_PERCENT}
    targets = {
        "idle_rss_mb": {"at_most": TARGET_RSS_MB, "met": met["rss"]},
        "idle_cpu_percent_of_a_core": {"at_most": TARGET_CPU_PERCENT, "met": met["cpu"]},
    }
    print(report("daemon_footprint", figures, targets))
    return all(met.values())


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each observation")
    options = parser.parse_args()
    if options.seconds <= 0:
        parser.error("--seconds is more than 0")
    return 0 if show(asyncio.run(run(options.seconds)), options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
