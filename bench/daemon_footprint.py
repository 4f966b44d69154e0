"""What the daemon costs its host: memory and CPU with 8 virtual GPUs at one sample a second, all probes on.

Starts a real control plane with its own NATS and one daemon, over TLS. All probes: samples and events of NVML, the
kernel's log, the checks of the host, a DCGM exporter (a stand-in with 480 series, scraped each 10 s), a check of one's
own (each 10 s), and the daemon's own Prometheus endpoint, which is asked each 15 s. With --plain the last three are
off, as they are by default.

Counts every process of the daemon through /proc: the daemon, its NVML probe, and whatever short-lived command they run;
not the supervisors of jobs, which are not the daemon's children. Measures once with all GPUs idle and once with a job
on each GPU that prints a line a second, each for --seconds after a while to settle; says on standard error what it is
at and how long that takes, and gives up with an error if starting anything takes minutes. With the defaults it takes
about two minutes. Prints a table and, last, one JSON object. The exit status is 1 if a target is missed while idle.

The share of the processor is that of the processes' own time, so other work on the machine does not count; but on a
crowded one each wake-up costs more, for the caches are cold. The load average is in the JSON object.

RSS is summed over the processes, so pages that they share are counted in each; PSS counts them once. After its start
each process gives back the pages of libraries that only ran once (see `node_agent.memory`), which is why its RSS falls
below its peak; `private` and `anonymous` are not touched by that.

    python -m bench.daemon_footprint [--seconds 30] [--plain]
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from bench.dcgm_page import DcgmStandIn, dcgm_stand_in, scrape
from bench.figures import report
from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet, FleetError, free_port
from orquanta.gameday.host import Host
from orquanta.types.jobs import JobState

TARGET_RSS_MB = 60.0
TARGET_CPU_PERCENT = 1.0
GPUS = 8
GOAL = "Run `while true; do date; sleep 1; done` on 1 H100 for 30 minutes, at most $40"
_SCRAPE_SECONDS = 15.0
_CHECK = """#!/bin/sh
echo >> {mark}
echo '{{"status": "good", "message": "the rack is cold"}}'
"""
_SETTLE_SECONDS = 20.0  # the daemon gives back what only its start needed after ten seconds
_START_SECONDS = 60.0  # for anything to start
_KILOBYTE = 1024 / 1e6
"""What /proc calls a kB, in megabytes of 10^6 bytes."""


@dataclass(frozen=True)
class Memory:
    """The memory of one process at one moment, in megabytes of 10^6 bytes."""

    rss_mb: float
    pss_mb: float
    private_mb: float
    anonymous_mb: float
    peak_rss_mb: float
    threads: int


@dataclass
class Footprint:
    """What the processes of the daemon used over a while."""

    cpu_percent: float = 0.0
    highest_rss_mb: float = 0.0
    """The highest sum over all processes, looked at each second."""
    processes: dict[int, tuple[str, Memory]] = field(default_factory=dict)
    """By process id, those that were there at the end: what it is, and its memory."""

    def total(self, name: str) -> float:
        """Return the sum of one figure over all processes."""
        return float(sum(getattr(memory, name) for _, memory in self.processes.values()))


def family(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def memory_of(pid: int) -> Memory | None:
    """Return the memory of one process, or None if it has ended."""
    values: dict[str, int] = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        for name in ("smaps_rollup", "status"):
            for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
                key, _, rest = line.partition(":")
                words = rest.split()
                if words and words[0].isdigit():
                    values[key] = int(words[0])
    if "Rss" not in values or "VmHWM" not in values:
        return None
    return Memory(
        rss_mb=values["Rss"] * _KILOBYTE,
        pss_mb=values["Pss"] * _KILOBYTE,
        private_mb=(values["Private_Clean"] + values["Private_Dirty"]) * _KILOBYTE,
        anonymous_mb=values["Anonymous"] * _KILOBYTE,
        peak_rss_mb=values["VmHWM"] * _KILOBYTE,
        threads=values["Threads"],
    )


def cpu_seconds(pid: int) -> float:
    """Return the processor time used so far by all threads, and by the children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def describe(pid: int, daemon: int) -> str:
    """Return what a process is."""
    if pid == daemon:
        return "daemon"
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return "probe" if "node_agent.probe.child" in command else Path(command.split(" ")[0]).name


def tell(what: str) -> None:
    """Say on standard error what is being done."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


async def observe(daemon: int, name: str, seconds: float) -> Footprint:
    """Watch the daemon's processes for a while."""
    tell(f"{name}: settles for {_SETTLE_SECONDS:g} s, then is observed for {seconds:g} s")
    await asyncio.sleep(_SETTLE_SECONDS)
    found = Footprint()
    began, used = time.monotonic(), {pid: cpu_seconds(pid) for pid in family(daemon)}
    while (elapsed := time.monotonic() - began) < seconds:
        memories = [memory for memory in map(memory_of, family(daemon)) if memory is not None]
        found.highest_rss_mb = max(found.highest_rss_mb, sum(memory.rss_mb for memory in memories))
        await asyncio.sleep(min(1.0, seconds - elapsed))
    elapsed = time.monotonic() - began
    for pid in tuple(family(daemon)):
        memory = memory_of(pid)
        if memory is not None:
            found.processes[pid] = describe(pid, daemon), memory
            found.cpu_percent += 100 * (cpu_seconds(pid) - used.get(pid, 0.0)) / elapsed
    return found


async def occupy(client: AsyncClient) -> None:
    """Put a job that prints a line a second on each GPU."""
    for number in range(1, GPUS + 1):
        tell(f"busy: starts job {number} of {GPUS}")
        goal = await client.goals.create(GOAL)
        async for view in client.goals.watch(goal.id):
            if any(job.state is JobState.RUNNING for job in view.jobs):
                break
        else:
            raise FleetError(f"goal {goal.id} ended before its job ran")


async def run(seconds: float, *, plain: bool) -> dict[str, Footprint]:
    """Measure the daemon idle, then busy. Raises TimeoutError if something does not start."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(2 * (_SETTLE_SECONDS + seconds) + 3 * _START_SECONDS))
        tell("starts a control plane and a daemon")
        fleet = await stack.enter_async_context(Fleet({"approval_above_usd": "1000", "max_gpus_per_user": str(GPUS)}))
        client = await fleet.client()
        if plain:
            return await measure(client, await fleet.add_host(client, "host", f"{GPUS}xH100"), seconds)
        dcgm, port = await stack.enter_async_context(dcgm_stand_in()), free_port()
        host = await with_all_probes(fleet, client, dcgm, port)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        prometheus = group.create_task(ask_again_and_again(port))
        found = await measure(client, host, seconds)
        prometheus.cancel()
        make_sure_of_probes((await scrape(port)).decode(), dcgm, (fleet.directory / "checked").stat().st_size)
        return found


async def measure(client: AsyncClient, host: Host, seconds: float) -> dict[str, Footprint]:
    """Measure one daemon idle, then busy."""
    idle = await observe(host.daemon.pid, "idle", seconds)
    async with asyncio.timeout(_START_SECONDS):
        await occupy(client)
    return {"idle": idle, "busy": await observe(host.daemon.pid, "busy", seconds)}


async def with_all_probes(fleet: Fleet, client: AsyncClient, dcgm: DcgmStandIn, port: int) -> Host:
    """Start a host on which everything that can be looked at is."""
    check = fleet.directory / "check"
    check.write_text(_CHECK.format(mark=fleet.directory / "checked"))
    check.chmod(0o755)
    config = fleet.directory / "node.toml"
    config.write_text(f'[[checks]]\nname = "rack"\ncommand = ["{check}"]\nperiod_seconds = 10\n')
    settings = {"config": str(config), "dcgm_url": dcgm.url, "metrics_address": f"127.0.0.1:{port}"}
    host = await fleet.add_host(client, "host", f"{GPUS}xH100", settings=settings)
    dcgm.gpu_uuids = [gpu.inventory.uuid for gpu in (await client.nodes.get(host.node_id)).gpus]
    return host


async def ask_again_and_again(port: int) -> NoReturn:
    """Ask the daemon's endpoint as Prometheus does."""
    while True:
        await asyncio.sleep(_SCRAPE_SECONDS)
        await scrape(port)


def make_sure_of_probes(page: str, dcgm: DcgmStandIn, checks_run: int) -> None:
    """Raise FleetError if a probe did not work: its cost would not have been measured."""
    silent = [
        name
        for name, works in (
            ("NVML", page.count("DCGM_FI_DEV_GPU_TEMP{") == GPUS),
            ("the DCGM client", dcgm.scrapes > 1 and 'stalls_total{probe="dcgm"} 0' in page),
            ("the check", checks_run > 1),
        )
        if not works
    ]
    if silent:
        raise FleetError(f"{', '.join(silent)} did not work, so this is no measurement of all probes")


def show(found: dict[str, Footprint], options: argparse.Namespace) -> bool:
    """Print the tables and the JSON line; return whether the targets are met."""
    columns = ("rss_mb", "pss_mb", "private_mb", "anonymous_mb", "peak_rss_mb")
    figures: dict[str, object] = {"gpus": GPUS, "sample_interval_seconds": 1.0, "observed_seconds": options.seconds}
    figures |= {"all_probes": not options.plain, "load_average": round(os.getloadavg()[0], 2)}
    for name, one in found.items():
        print(f"{name:<10}{'RSS MB':>9}{'PSS MB':>9}{'private':>9}{'anonymous':>11}{'peak RSS':>10}{'threads':>9}")
        for what, memory in one.processes.values():
            print(
                f"  {what:<8}{memory.rss_mb:>9.1f}{memory.pss_mb:>9.1f}{memory.private_mb:>9.1f}"
                f"{memory.anonymous_mb:>11.1f}{memory.peak_rss_mb:>10.1f}{memory.threads:>9}"
            )
        print(f"  total: highest RSS {one.highest_rss_mb:.1f} MB, CPU {one.cpu_percent:.2f} % of a core")
        figures |= {f"{name}_highest_rss_mb": round(one.highest_rss_mb, 1)}
        figures |= {f"{name}_{column}": round(one.total(column), 1) for column in columns}
        figures |= {
            f"{name}_cpu_percent_of_a_core": round(one.cpu_percent, 2),
            f"{name}_processes": [what for what, _ in one.processes.values()],
        }
    idle = found["idle"]
    met = {
        "rss": idle.highest_rss_mb <= TARGET_RSS_MB,
        "cpu": idle.cpu_percent <= TARGET_CPU_PERCENT,
        "probe": any(what == "probe" for what, _ in idle.processes.values()),
    }
    targets = {
        "idle_highest_rss_mb": {"at_most": TARGET_RSS_MB, "met": met["rss"]},
        "idle_cpu_percent_of_a_core": {"at_most": TARGET_CPU_PERCENT, "met": met["cpu"]},
        "probe_is_counted": {"met": met["probe"]},
    }
    print(report("daemon_footprint", figures, targets))
    return all(met.values())


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", action="store_true", help="only the probes that are on by default")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each observation")
    options = parser.parse_args()
    if options.seconds <= 0:
        parser.error("--seconds is more than 0")
    try:
        found = asyncio.run(run(options.seconds, plain=options.plain))
    except TimeoutError:
        print("the fleet did not start in time: is the machine busy? see the last line above", file=sys.stderr)
        return 2
    return 0 if show(found, options) else 1


if __name__ == "__main__":
    sys.exit(main())
