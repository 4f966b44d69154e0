"""What a storm of the kernel log costs a daemon: a GPU's faulting application prints a hundred thousand lines.

Starts a real control plane with its own NATS and a daemon with 8 virtual GPUs, over TLS, with the settings that they
have by default. Writes the lines into the host's kernel log, a FIFO, as fast as the daemon takes them; each is a line
of the driver with an address of its own, which has to be parsed. Measures, over all processes of the daemon: processor
seconds from the first line until the last was handled, beyond what it uses when nothing happens; memory before and
after; events that were sent; how long after the last write the newest line was handled. Prints a table and, last, one
JSON object.

    python -m bench.log_storm [--lines 100000]
"""

import argparse
import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.figures import report
from orquanta.gameday import kernel, local
from orquanta.gameday.fleet import Fleet, Host
from orquanta.gameday.program import all_pids

XID = 31
TEXT = "Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f21_{number:08x}"
PATIENCE_SECONDS = 120.0
SETTLE_SECONDS = 15.0  # after its start the daemon gives back memory
IDLE_SECONDS = 10.0
LOOK_SECONDS = 0.01
_PARENT, _USER_TICKS, _SYSTEM_TICKS = 1, 11, 12  # fields of /proc/<pid>/stat after the name
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Storm:
    """What was measured."""

    lines: int
    printing_seconds: float
    behind_seconds: float
    cpu_seconds: float
    idle_cpu_share: float
    rss_before_bytes: int
    rss_after_bytes: int
    events: int
    conditions: int


def processes(host: Host) -> list[int]:
    """Return the daemon and everything that it has started."""
    parents = {}
    for pid in all_pids():
        fields = _stat(pid)
        if fields:
            parents[pid] = int(fields[_PARENT])
    found = [host.daemon.pid]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(host: Host) -> float:
    """Return the processor time that the daemon's processes have used."""
    used = [(int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) for fields in map(_stat, processes(host)) if fields]
    return sum(used) / _TICKS


def rss_bytes(host: Host) -> int:
    """Return the memory that the daemon's processes have resident."""
    pages = 0
    for pid in processes(host):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


async def run(lines: int) -> Storm:
    """Measure one storm."""
    async with Fleet() as fleet:
        admin = await fleet.client()
        host = await fleet.add_host(admin, "host", "8xH100")
        node = await admin.nodes.get(host.node_id)
        await asyncio.sleep(SETTLE_SECONDS)
        idle = cpu_seconds(host)
        await asyncio.sleep(IDLE_SECONDS)
        idle_share = (cpu_seconds(host) - idle) / IDLE_SECONDS
        before, rss_before = cpu_seconds(host), rss_bytes(host)
        gpu = node.gpus[0].inventory
        printed_lines = [
            kernel.xid(gpu, XID, TEXT.format(number=number), pid=4711, name="python") for number in range(lines)
        ]
        began = time.monotonic()
        await kernel.print_lines(host.kernel_log, printed_lines)
        printed = time.monotonic()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if any(one.count >= lines for one in await local.conditions(host)):
                    break
                await asyncio.sleep(LOOK_SECONDS)
        handled = time.monotonic()
        used = cpu_seconds(host) - before - idle_share * (handled - began)
        events = len(await local.events(host))
        known = await admin.nodes.get(host.node_id)
        return Storm(
            lines=lines,
            printing_seconds=printed - began,
            behind_seconds=handled - printed,
            cpu_seconds=max(0.0, used),
            idle_cpu_share=idle_share,
            rss_before_bytes=rss_before,
            rss_after_bytes=rss_bytes(host),
            events=events,
            conditions=len(known.conditions),
        )


def show(storm: Storm) -> None:
    """Print the table and the JSON line."""
    mebi = 1024 * 1024
    rows = [
        ("lines printed", f"{storm.lines:,}"),
        ("seconds that printing took", f"{storm.printing_seconds:.2f}"),
        ("newest line handled after the last write, s", f"{storm.behind_seconds:.3f}"),
        ("processor seconds of the daemon", f"{storm.cpu_seconds:.2f}"),
        ("processor microseconds a line", f"{storm.cpu_seconds / storm.lines * 1e6:.1f}"),
        ("share of a core when idle", f"{storm.idle_cpu_share:.2%}"),
        ("memory before, MiB", f"{storm.rss_before_bytes / mebi:.1f}"),
        ("memory after, MiB", f"{storm.rss_after_bytes / mebi:.1f}"),
        ("events sent", f"{storm.events}"),
        ("conditions in the books", f"{storm.conditions}"),
    ]
    for name, value in rows:
        print(f"{name:<46}{value:>12}")
    figures = {
        "lines": storm.lines,
        "cpu_seconds": round(storm.cpu_seconds, 2),
        "lines_per_cpu_second": round(storm.lines / storm.cpu_seconds) if storm.cpu_seconds else None,
        "printing_seconds": round(storm.printing_seconds, 2),
        "behind_seconds": round(storm.behind_seconds, 3),
        "rss_before_mib": round(storm.rss_before_bytes / mebi, 1),
        "rss_after_mib": round(storm.rss_after_bytes / mebi, 1),
        "events_sent": storm.events,
        "conditions": storm.conditions,
        "load_average": round(os.getloadavg()[0], 2),
    }
    print(report("log_storm", figures, {}))


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000, help="lines of the storm")
    options = parser.parse_args()
    if options.lines < 1:
        parser.error("--lines is at least 1")
    show(asyncio.run(run(options.lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
