"""What telemetry costs us, beside Prometheus that scrapes the same samples from as many hosts, in one run.

For each number of hosts of 8 GPUs, one after the other, each for --seconds after all hosts have come:

1. Debian's `prometheus` scrapes a page of each host every second: file_sd targets, plain HTTP without compression,
   small retention. Every field of every GPU is a sample.
2. A real nats-server over TLS and a process with the control plane's ingest and windows take a batch of each host
   every second, with the same samples.

Processor seconds are user and system time of the processes themselves, of what came in between two counts; the hosts,
which are this process on both sides, are counted apart. Memory is resident at the end, and what it has grown by since
before the first host. `taken_share` is what was taken of what was due, one batch or page of each host a second: on a
busy machine Prometheus leaves scrapes out, and we shed batches.

The sides do not do the same. Prometheus fetches the pages, writes every sample to a log and keeps all of them, so that
they can be queried, for as long as it is told; its memory grows with time until a block is written after some hours. We
are sent batches, keep two minutes of four values of each GPU in memory, and all values of the newest batch; after those
two minutes memory grows no further, and nothing is written. For history, let a Prometheus scrape the hosts' own
endpoint. What neither side shows: our hosts share one connection to the broker here, and have one each in a fleet,
which costs the broker more; Prometheus has no TLS and no compression to undo.

Prints a table and, last, one JSON object. Needs `apt-get install --no-install-recommends prometheus`.

    python -m bench.beside_prometheus [--hosts 200 500 1000] [--seconds 120]
"""

import argparse
import asyncio
import contextlib
import os
import resource
import shutil
import sys
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from bench.beside_hosts import GPUS_PER_HOST, Hosts
from bench.beside_sides import Side, orquanta, prometheus
from bench.figures import report
from bench.scale_use import Use

MILLION = 1e6
WARM_BATCHES = 5
"""Of each host, before anything is measured: series and windows exist by then."""

LOOK_SECONDS, LOOKS = 0.5, 120
NOT_INSTALLED = 2


@dataclass(frozen=True)
class Moment:
    """A side at one moment: batches taken, and what its processes and the hosts have used."""

    batches: int
    uses: dict[str, Use]
    hosts: Use

    @classmethod
    async def of(cls, side: Side) -> "Moment":
        """Count first, then look: what counting costs is ours on both sides."""
        batches = await side.batches()
        return cls(batches, {name: Use.of(pid) for name, pid in side.pids.items()}, Use.of(os.getpid()))


async def measure_side(running: AbstractAsyncContextManager[Side], hosts: Hosts, seconds: float) -> dict[str, object]:
    """Return the figures of one side."""
    async with running as side:
        empty = await Moment.of(side)
        await side.begin()
        for _ in range(LOOKS):
            if await side.batches() >= hosts.count * WARM_BATCHES:
                break
            await asyncio.sleep(LOOK_SECONDS)
        else:
            raise RuntimeError(
                f"after {LOOKS * LOOK_SECONDS:g} seconds {await side.batches()} batches were taken: "
                "give fewer --hosts, or a machine with less to do"
            )
        first, began = await Moment.of(side), time.monotonic()
        await asyncio.sleep(seconds)
        last, took = await Moment.of(side), time.monotonic() - began
        notes = await side.notes()
    taken = last.batches - first.batches
    millions = taken * hosts.samples_per_host / MILLION
    all_millions = last.batches * hosts.samples_per_host / MILLION
    cpu = {name: use.cpu_seconds - first.uses[name].cpu_seconds for name, use in last.uses.items()}
    rss = {name: use.rss_mb for name, use in last.uses.items()}
    grown_mb = sum(rss.values()) - sum(use.rss_mb for use in empty.uses.values())
    return {
        "samples_million": round(millions, 3),
        "taken_share": round(taken / (hosts.count * took), 3),
        "cpu_seconds": round(sum(cpu.values()), 2),
        **{f"cpu_{name}_seconds": round(value, 2) for name, value in cpu.items() if len(cpu) > 1},
        "cpu_seconds_per_million_samples": round(sum(cpu.values()) / millions, 3),
        "cpu_cores_per_thousand_hosts": round(sum(cpu.values()) / taken * 1000, 3),
        "cpu_of_hosts_seconds": round(last.hosts.cpu_seconds - first.hosts.cpu_seconds, 2),
        "rss_mb": round(sum(rss.values()), 1),
        **{f"rss_{name}_mb": round(value, 1) for name, value in rss.items() if len(rss) > 1},
        "rss_grown_mb": round(grown_mb, 1),
        "rss_grown_kb_per_host": round(grown_mb * 1024 / hosts.count, 1),
        "rss_grown_mb_per_million_samples": round(grown_mb / all_millions, 2),
        **{name: round(value, 3) for name, value in notes.items()},
        "load_average": round(os.getloadavg()[0], 2),
    }


async def measure(program: str, counts: list[int], seconds: float) -> dict[str, object]:
    """Return the figures of both sides for each number of hosts."""
    figures: dict[str, object] = {"seconds": seconds, "gpus_per_host": GPUS_PER_HOST}
    for count in counts:
        hosts = Hosts(count)
        print(f"{count} hosts: prometheus", file=sys.stderr, flush=True)
        theirs = await measure_side(prometheus(program, hosts), hosts, seconds)
        print(f"{count} hosts: orquanta", file=sys.stderr, flush=True)
        ours = await measure_side(orquanta(hosts), hosts, seconds)
        about = {"samples_per_host": hosts.samples_per_host, "batch_bytes": hosts.batch_bytes}
        about |= {"page_bytes": hosts.page_bytes}
        figures[f"hosts_{count}"] = {**about, "prometheus": theirs, "orquanta": ours}
        show(count, theirs, ours)
    figures["load_average"] = round(os.getloadavg()[0], 2)
    return figures


def show(count: int, theirs: dict[str, object], ours: dict[str, object]) -> None:
    """Print one number of hosts."""
    print(f"\n{f'{count} hosts of {GPUS_PER_HOST} GPUs':<36}{'prometheus':>14}{'orquanta':>14}")
    for name in dict.fromkeys([*theirs, *ours]):
        print(f"{name:<36}{theirs.get(name, '-')!s:>14}{ours.get(name, '-')!s:>14}", flush=True)


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--hosts", type=int, nargs="+", default=[200, 500, 1000], help="numbers of hosts, each measured"
    )
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="how long each side is measured; from 115 on, our windows are full"
    )
    parser.add_argument("--prometheus", default="prometheus", help="the program, if it is not on the PATH")
    options = parser.parse_args()
    if min(options.hosts) < 1 or options.seconds <= 0:
        parser.error("--hosts and --seconds are above 0")
    program = shutil.which(options.prometheus)
    if program is None:
        print(
            f"there is no program {options.prometheus}: install it with `apt-get install --no-install-recommends "
            "prometheus`, or say where it is with --prometheus",
            file=sys.stderr,
        )
        return NOT_INSTALLED
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a connection for each target
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("\n" + report("beside_prometheus", asyncio.run(measure(program, options.hosts, options.seconds)), {}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
