"""All hosts of one process: joined, connected one after the other, moved on in time, broken by the script."""

import asyncio
import dataclasses
import math
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from simulator import identity as identities
from simulator.counts import HostCounts, Latencies
from simulator.draws import dice_of
from simulator.faults import Script, struck
from simulator.host import Terms, VirtualHost
from simulator.identity import Identity, Joiner, SimulatorError, Token
from simulator.journal import Happening, Journal, Recalled, recall
from simulator.link import HostLink, LinkCounts
from simulator.members import JobTerms
from simulator.models import MODELS
from simulator.options import Options, TelemetryWay
from simulator.repairs import RepairTerms
from simulator.schedule import Schedule
from simulator.stream import Stream

_TICK_SECONDS: Final = 0.05
_JOINING_AT_ONCE: Final = 32
_LAST_WORDS_SECONDS: Final = 0.3
"""Between the report that a reboot has begun and the end of the link."""


class Fleet:
    """The virtual hosts of this process. `run` until cancelled; `figures` tell how it goes."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._dice = dice_of(options.seed, "fleet", options.first)
        self._counts = HostCounts()
        self._latencies = Latencies()
        self._link_counts = LinkCounts()
        self._schedule = Schedule()
        self._hosts: list[VirtualHost] = []
        self._links: list[HostLink] = []
        self._stream = Stream(options.telemetry, options.nats_password, self._dice)
        self._journal = Journal(options.journal)
        self._joined = 0
        self._script_began: float | None = None
        self._late = 0

    def figures(self) -> dict[str, int | float | str]:
        """Return what happened so far."""
        return {
            "hosts": self._options.hosts,
            "joined": self._joined,
            "links_up": self._link_counts.up,
            "connects": self._link_counts.connects,
            "links_dropped": self._link_counts.dropped,
            "links_refused": self._link_counts.refused,
            "links_put_off": self._link_counts.put_off,
            "last_reason": self._link_counts.last_reason,
            **dataclasses.asdict(self._counts),
            **dataclasses.asdict(self._stream.counts),
            "samples_late": self._late,
            **_spread("told_ms", self._latencies.told),
            **_spread("ordered_ms", self._latencies.ordered),
        }

    async def run(self) -> None:
        """Join what has not joined, connect, and go on until cancelled. Raises SimulatorError."""
        recalled = recall(self._options.journal, time.time())
        for one in await self._identities():
            self._add(one, recalled.get(one.node_id))
        if not self._options.script_on_signal:
            self.begin_script()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stream.run())
            group.create_task(self._tick())
            group.create_task(self._play())
            if self._options.telemetry is not TelemetryWay.NONE:
                group.create_task(self._sample())
            for link in self._links:
                group.create_task(link.run())
                await asyncio.sleep(1 / self._options.connects_per_second)

    def begin_script(self) -> None:
        """Count the moments of the script from now on."""
        self._script_began = time.time()

    async def _identities(self) -> list[Identity]:
        """Return who the hosts are, after those have joined that had not."""
        options = self._options
        file = Path(options.state_dir, "identities.jsonl") if options.state_dir else None
        known = identities.load(file) if file else {}
        indexes = range(options.first, options.first + options.hosts)
        missing = [index for index in indexes if options.host_name(index) not in known]
        self._joined = options.hosts - len(missing)
        if missing:
            async with self._joining(len(missing)) as (joiner, tokens):
                slots = asyncio.Semaphore(_JOINING_AT_ONCE)

                async def join(index: int, token: Token) -> Identity:
                    async with slots:
                        name = options.host_name(index)
                        made = await joiner.join(token, name, options.labels(index), time.time())
                    if file:
                        identities.keep(file, [made])
                    self._joined += 1
                    return made

                made = await asyncio.gather(*(join(*pair) for pair in zip(missing, tokens, strict=True)))
            known |= {one.name: one for one in made}
        return [known[options.host_name(index)] for index in indexes]

    @asynccontextmanager
    async def _joining(self, count: int) -> AsyncIterator[tuple[Joiner, list[Token]]]:
        options = self._options
        if options.api_key:
            tokens = await identities.make_tokens(options.server, options.api_key, options.ca, count)
        else:
            tokens = [Token.parse(text) for text in options.tokens[:count]]
        if len(tokens) < count:
            raise SimulatorError(f"{count} hosts have to join, and there are {len(tokens)} tokens: give --api-key-file")
        joiner = Joiner(options.server, tokens[0].ca)
        try:
            yield joiner, tokens
        finally:
            await joiner.close()

    def _add(self, identity: Identity, recalled: Recalled | None) -> None:
        options = self._options
        terms = Terms(
            MODELS[options.gpu_type],
            options.gpus,
            JobTerms(options.job_seconds, options.job_failures, options.seed),
            RepairTerms(options.repair_seconds, options.reboot_seconds, options.repair_failures, options.seed),
            options.seed,
        )
        place = len(self._hosts)
        host = VirtualHost(
            index=options.first + place,
            name=identity.name,
            node_id=identity.node_id,
            terms=terms,
            counts=self._counts,
            latencies=self._latencies,
            began_at=time.time(),
            journal=self._journal,
        )
        self._journal.note(Happening.BOOTED, identity.node_id)
        if recalled is not None:
            host.recall(recalled)
        self._hosts.append(host)
        self._links.append(
            HostLink(
                host,
                identity,
                self._link_counts,
                on_change=lambda host: self._schedule.put(place, host.due_at),
                on_nats=self._stream.host_up,
                dice=dice_of(options.seed, identity.name, "link"),
            )
        )

    async def _tick(self) -> None:
        """Move those hosts on whose time has come."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.time()
            for place in self._schedule.take(now):
                self._hosts[place].advance(now)
                self._follow(place, now)

    def _follow(self, place: int, now: float) -> None:
        """See to it that what a host says, prints and has to do next is taken care of."""
        host, link = self._hosts[place], self._links[place]
        self._schedule.put(place, host.due_at)
        if host.printed:
            self._stream.send_output(host, now)
        if host.said:
            link.wake()
        if host.repairs.reboots and link.offline_until < host.repairs.step_at:
            # Once the control plane has heard that it begins.
            until = host.repairs.step_at
            asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, link.cut, until)
            link.offline_until = until

    async def _sample(self) -> None:
        """Send each host's telemetry in its turn, spread evenly over the time between two samples."""
        loop = asyncio.get_running_loop()
        count, period = len(self._hosts), self._options.telemetry_seconds
        began, sent = loop.time(), 0
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            due = int((loop.time() - began) / period * count)
            if due - sent > count:  # this process is too slow: what was missed is not made up for
                self._late += due - sent - count
                sent = due - count
            now = time.time()
            for number in range(sent, due):
                self._stream.send(self._hosts[number % count], now)
            sent = due
            self._stream.flush()

    async def _play(self) -> None:
        """Have happen what the script says."""
        moments = sorted((one for one in self._options.scripts if one.hosts), key=lambda one: one.at_seconds)
        chances = [one for one in self._options.scripts if not one.hosts]
        before = time.time()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.time()
            while moments and self._script_began is not None and now - self._script_began >= moments[0].at_seconds:
                script = moments.pop(0)
                for place in self._dice.sample(range(len(self._hosts)), min(script.hosts, len(self._hosts))):
                    self.strike(script, place, now)
            for script, place in struck(chances, len(self._hosts), now - before, self._dice):
                self.strike(script, place, now)
            before = now

    def strike(self, script: Script, place: int, now: float) -> None:
        """Have something happen to one host."""
        if script.fault is None:
            self._links[place].cut(now + self._options.offline_seconds)
        elif not self._hosts[place].repairs.reboots:
            self._hosts[place].strike(script.fault, now)
            self._follow(place, now)


def _spread(name: str, values: Collection[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the most of some values, and how many there are: with none, all are 0.

    The newest `LATENCIES_MAX` values are kept, so there may have been more.
    """
    ordered = sorted(values)
    places = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    found: dict[str, float] = {
        f"{name}_{which}": round(ordered[max(0, math.ceil(place * len(ordered)) - 1)], 1) if ordered else 0.0
        for which, place in places.items()
    }
    return found | {f"{name.removesuffix('_ms')}_count": len(ordered)}
