"""What a control plane carries: memory, telemetry and event latency with thousands of simulated hosts of 8 GPUs.

Starts a real control plane with its own NATS over TLS, and `orquanta-sim`. In this order:

1. Telemetry. Batches of as many hosts as --telemetry says come over NATS at 1 Hz, the same bytes as hosts send, then as
   many a second as --peak says. Memory is what the control plane's process has grown by, CPU is its own: how many
   batches one core takes is batches over CPU seconds, less what the process uses without telemetry.
2. Links. Hosts join and hold a mutual-TLS stream each, with heartbeats. While they come up, a tenth of the telemetry is
   sent, for their side of it needs this machine too; then all of it again, at 1 Hz.
3. Events. Hosts print lines (XID 63, no repair), --events a second; from the record until its host has heard that it
   is in the books, under the load of 1. and 2.
4. Storm. XID 119 on --storm hosts at one moment: until the last one is cordoned, by the control plane's books, and
   until the last host has its order to repair. With bounds that are not reached; with --bounded, with the default ones,
   and how many hosts were out of service at once.

A link costs the simulator 0.12 MB. Nothing is extrapolated: every figure is of the number of hosts that it names.
Prints a table and, last, one JSON object. The exit status is 1 if a target is missed.

    python -m bench.scale [--telemetry 10000] [--links 10000] [--storm 1000] [--peak 12000] [--bounded]
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys

from bench.figures import report
from bench.scale_firehose import Firehose
from bench.scale_simulation import Simulation, simulation
from bench.scale_storm import OutOfService, cordons
from bench.scale_use import Use
from control_plane.services.link_terms import LinkTerms
from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet, free_port

MB_PER_HOST, BATCHES_PER_CORE_SECOND, EVENT_P99_MS = 0.05, 10_000, 100.0
MOST_TAKEN = 0.95
"""This share of the telemetry that is sent must be taken; the rest is that sending and taking are not read at once."""
LAST_CORDON_SECONDS, LAST_ORDER_SECONDS = 1.0, 3.0
SETTLE_SECONDS = 3.0
STORM_AFTER_SECONDS = 15.0
LINKS_SETTLE_SECONDS = 10.0
JOINING_TELEMETRY = 0.1
"""This share of the telemetry goes on while the links come up."""
MOST_LINKS = 0.995
"""This share of the links must be up at once: on a busy machine there are always some that come back."""
FULL_WINDOWS_SECONDS = 130.0
"""Until the windows of telemetry are full: until then they grow, whatever else is measured."""
STORM_SECONDS, BOUNDED_SECONDS = 120.0, 30.0
"""How long the orders of a storm are waited for; with bounds, most do not come."""
UNBOUNDED = {f"out_of_service_{scope}": "100000, 100%" for scope in ("fleet", "pool", "rack", "job", "tenant")}


class Scale:
    """One control plane under measurement."""

    def __init__(self, fleet: Fleet, client: AsyncClient, options: argparse.Namespace) -> None:
        self._fleet = fleet
        self._client = client
        self._options = options
        self.figures: dict[str, object] = {}

    def _use(self) -> Use:
        return Use.of(self._fleet.control_plane.pid)

    async def telemetry(self, hose: Firehose) -> None:
        """Measure what telemetry alone costs."""
        await asyncio.sleep(SETTLE_SECONDS)
        idle = self._use()
        await asyncio.sleep(self._options.seconds)
        before = self._use()
        idle_cores = before.cores_since(idle)
        hose.per_second = hose.hosts
        await asyncio.sleep(
            FULL_WINDOWS_SECONDS if self._options.full_windows or self._options.links else self._options.seconds
        )
        full = self._use()
        steady = await self._rate(hose, hose.hosts, idle_cores)
        peak = await self._rate(hose, self._options.peak, idle_cores)
        hose.per_second = hose.hosts
        self.figures |= {
            "telemetry_hosts": hose.hosts,
            "telemetry_gpus": hose.hosts * 8,
            "telemetry_batch_bytes": round(hose.batch_bytes),
            "telemetry_mb_per_host": round((full.rss_mb - before.rss_mb) / hose.hosts, 4),
            "rss_without_hosts_mb": round(before.rss_mb, 1),
            "rss_with_telemetry_mb": round(full.rss_mb, 1),
            "idle_cores": round(idle_cores, 3),
            **{f"steady_{name}": value for name, value in steady.items()},
            **{f"peak_{name}": value for name, value in peak.items()},
        }

    async def _rate(self, hose: Firehose, per_second: float, idle_cores: float) -> dict[str, float]:
        hose.per_second = per_second
        await asyncio.sleep(1)
        counts, use, sent = (await self._client.metrics.fleet()).telemetry, self._use(), hose.sent
        await asyncio.sleep(self._options.seconds)
        after, then = (await self._client.metrics.fleet()).telemetry, self._use()
        seconds, taken = then.at - use.at, after.batches - counts.batches
        cpu = then.cpu_seconds - use.cpu_seconds - idle_cores * seconds
        return {
            "sent_per_second": round((hose.sent - sent) / seconds),
            "taken_per_second": round(taken / seconds),
            "shed": after.shed - counts.shed,
            "pauses": after.pauses - counts.pauses,
            "cores": round(then.cores_since(use), 3),
            "batches_per_core_second": round(taken / cpu),
        }

    async def links(self, hose: Firehose) -> None:
        """Measure links, events and a storm, in one run of the simulator."""
        options = self._options
        before = self._use()
        # On a machine that others use too, everything takes several times as long.
        joining = options.links / 20 + 3 * options.links / options.connects + 300
        events = int(options.events * options.seconds)
        moments = [f"xid63@{SETTLE_SECONDS + number / options.events:.2f}:1" for number in range(events)]
        storm_at = 2 * SETTLE_SECONDS + options.seconds + STORM_AFTER_SECONDS
        faults = [part for one in (*moments, f"xid119@{storm_at:.0f}:{options.storm}") for part in ("--fault", one)]
        each = str(options.connects / options.processes)
        arguments = ("--connects-per-second", each, "--repair-seconds", "2", *faults)
        hose.per_second = hose.hosts * JOINING_TELEMETRY
        async with simulation(self._fleet, options.links, options.processes, *arguments) as hosts:
            await hosts.until("joined", options.links, joining)
            joined = self._use()
            await hosts.until("links_up", options.links * MOST_LINKS, joining)
            up = self._use()
            hose.per_second = hose.hosts
            await asyncio.sleep(LINKS_SETTLE_SECONDS)
            steady = self._use()
            print(f"{hosts.figures['links_up']:.0f} links up, {steady.rss_mb:.0f} MB", file=sys.stderr, flush=True)
            hosts.begin_script()
            await hosts.until("faults", events, joining)
            await asyncio.sleep(SETTLE_SECONDS)
            told = dict(hosts.figures)
            loaded = self._use()
            self.figures |= {
                "links": hosts.figures["links_up"],
                "links_seconds": round(up.at - joined.at, 1),
                "links_put_off": hosts.figures.get("links_put_off", 0),
                "links_dropped": hosts.figures["links_dropped"],
                "join_cpu_ms_per_host": round((joined.cpu_seconds - before.cpu_seconds) * 1000 / options.links, 2),
                "link_mb_per_host": round((steady.rss_mb - joined.rss_mb) / options.links, 4),
                "rss_with_all_mb": round(steady.rss_mb, 1),
                "cores_with_all": round(loaded.cores_since(steady), 3),
                "joined_mb_per_host": round((joined.rss_mb - before.rss_mb) / options.links, 4),
                "events": told["faults"],
                "events_told": told["told_count"],
                "event_p50_ms": told["told_ms_p50"],
                "event_p99_ms": told["told_ms_p99"],
            }
            if options.storm:
                await self._storm(hosts)

    async def _storm(self, hosts: Simulation) -> None:
        """Wait for what the control plane does about the storm that comes now."""
        options = self._options
        out = OutOfService(self._client)
        watching = asyncio.create_task(out.watch()) if options.bounded else None
        with contextlib.suppress(TimeoutError):  # what was reached is told all the same
            await hosts.until("repairs_taken", options.storm, BOUNDED_SECONDS if options.bounded else STORM_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)
        if watching is not None:
            watching.cancel()
        cordoned, last_cordon_seconds = cordons(self._fleet)
        self.figures |= {
            "storm_hosts": options.storm,
            "storm_bounded": options.bounded,
            "storm_cordons": cordoned,
            "storm_last_cordon_seconds": last_cordon_seconds,
            "storm_last_order_seconds": round(hosts.figures["ordered_ms_max"] / 1000, 3),
            "storm_orders": hosts.figures["repairs_taken"],
            "storm_told_ms_max": hosts.figures["told_ms_max"],
            **({"storm_most_out_of_service": out.most} if options.bounded else {}),
        }


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Return all figures."""
    nats_port = free_port()
    settings = {"nats_address": f"127.0.0.1:{nats_port}"}
    settings |= {} if options.bounded else UNBOUNDED
    async with Fleet(settings) as fleet:
        client = await fleet.client()
        (fleet.directory / "key").write_text((await client.auth.create_api_key("sim")).secret)
        scale = Scale(fleet, client, options)
        scale.figures["lease_seconds"] = LinkTerms().among(options.links).lease_seconds
        hose = Firehose(fleet, options.telemetry, nats_port)
        running = asyncio.create_task(hose.run())
        try:
            await scale.telemetry(hose)
            print(f"telemetry of {options.telemetry} hosts measured", file=sys.stderr, flush=True)
            if options.links:
                await scale.links(hose)
        finally:
            running.cancel()
        if running.done() and running.exception():
            raise RuntimeError("the telemetry has ended") from running.exception()
        if not fleet.control_plane.running:
            raise RuntimeError(f"the control plane has ended:\n{fleet.control_plane.tail()}")
    return scale.figures


def show(figures: dict[str, object]) -> bool:
    """Print the table and the JSON line; return whether the targets are met."""
    at_most = {
        "telemetry_mb_per_host": MB_PER_HOST,
        "link_mb_per_host": MB_PER_HOST,
        "event_p99_ms": EVENT_P99_MS,
        "storm_last_cordon_seconds": LAST_CORDON_SECONDS,
        "storm_last_order_seconds": LAST_ORDER_SECONDS,
    }
    at_least: dict[str, float] = {"peak_batches_per_core_second": BATCHES_PER_CORE_SECOND}
    # What was never told or ordered is in no latency.
    whole = {"events_told": "events"}
    if figures.get("storm_bounded"):
        del at_most["storm_last_cordon_seconds"], at_most["storm_last_order_seconds"]
    else:
        whole |= {"storm_cordons": "storm_hosts", "storm_orders": "storm_hosts"}
    at_least |= {name: float(str(figures[of])) for name, of in whole.items() if name in figures}
    # What was shed costs nothing: neither CPU nor memory.
    for rate in ("steady", "peak"):
        at_least[f"{rate}_taken_per_second"] = MOST_TAKEN * float(str(figures[f"{rate}_sent_per_second"]))
    targets: dict[str, object] = {}
    for name, bound in at_most.items():
        if name in figures:
            targets[name] = {"at_most": bound, "met": float(str(figures[name])) <= bound}
    for name, bound in at_least.items():
        targets[name] = {"at_least": bound, "met": float(str(figures[name])) >= bound}
    for name, value in figures.items():
        target = targets.get(name)
        print(f"{name:<36}{value!s:>14}  {json.dumps(target) if target else ''}")
    figures["load_average"] = round(os.getloadavg()[0], 2)
    print(report("scale", figures, targets))
    return all('"met": true' in json.dumps(target) for target in targets.values())


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--telemetry", type=int, default=10_000, help="hosts whose telemetry comes at 1 Hz")
    parser.add_argument("--peak", type=int, default=12_000, help="batches a second at the highest")
    parser.add_argument("--links", type=int, default=10_000, help="hosts with a link; 0 measures telemetry alone")
    parser.add_argument("--connects", type=int, default=60, help="links that come up each second")
    parser.add_argument("--processes", type=int, default=2, help="processes of the simulator")
    parser.add_argument("--events", type=float, default=10.0, help="events a second of all hosts together")
    parser.add_argument("--storm", type=int, default=1_000, help="hosts that fail at once; 0 has none")
    parser.add_argument("--bounded", action="store_true", help="keep the bounds on what is out of service at once")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each measurement takes")
    parser.add_argument(
        "--full-windows", action="store_true", help="wait until the windows are full, two minutes; always with links"
    )
    options = parser.parse_args()
    if options.links and not 0 <= options.storm <= options.links:
        parser.error("--storm is from 0 to --links")
    return 0 if show(asyncio.run(measure(options))) else 1


if __name__ == "__main__":
    sys.exit(main())
