"""Telemetry and output of the hosts on their way to the broker: over each host's own connection, or a shared one."""

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from orquanta.v1 import event_pb2, job_pb2
from simulator.broker import BrokerRefused, Login, Publisher, message
from simulator.host import VirtualHost
from simulator.identity import Identity
from simulator.link import HostLink
from simulator.options import TelemetryWay
from simulator.stamps import stamp

CONTROL_USER: Final = "control"
_FIRST_RETRY_SECONDS: Final = 0.2
_LONGEST_RETRY_SECONDS: Final = 5.0
_CONNECTING_AT_ONCE: Final = 32


@dataclass(slots=True)
class StreamCounts:
    """What was sent to the broker."""

    telemetry_sent: int = 0
    telemetry_dropped: int = 0
    output_chunks: int = 0
    broker_connects: int = 0


class Stream:
    """Sends what hosts show and print. `host_up` is called whenever a link comes up, `run_one` per connection."""

    def __init__(self, way: TelemetryWay, password: str, dice: random.Random) -> None:
        self.counts = StreamCounts()
        self._way = way
        self._login = Login(CONTROL_USER, password) if way is TelemetryWay.SHARED else None
        self._dice = dice
        self._publishers: dict[int, Publisher] = {}
        self._wanted: asyncio.Queue[HostLink] = asyncio.Queue()
        self._known: set[int] = set()
        self._slots = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        self._waiting: list[bytes] = []

    def host_up(self, link: HostLink) -> None:
        """Connect for a host whose link has told where the broker is."""
        key = 0 if self._login is not None else link.host.index
        if self._way is not TelemetryWay.NONE and link.nats_servers and key not in self._known:
            self._known.add(key)
            self._wanted.put_nowait(link)

    async def run(self) -> None:
        """Keep connections until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._stay_connected(await self._wanted.get()))

    def send(self, host: VirtualHost, now: float) -> None:
        """Send one sample of a host."""
        publisher = self._publisher(host)
        if publisher is None:
            self.counts.telemetry_dropped += 1
            return
        subject = f"orq.node.{host.node_id}.telemetry"
        if self._login is not None:
            self._waiting.append(message(subject, host.telemetry(now)))
        elif publisher.publish(subject, host.telemetry(now)):
            self.counts.telemetry_sent += 1
        else:
            self.counts.telemetry_dropped += 1

    def flush(self) -> None:
        """Write what was gathered for a shared connection."""
        waiting, self._waiting = self._waiting, []
        publisher = self._publishers.get(0)
        if waiting and publisher is not None and publisher.publish_raw(b"".join(waiting), len(waiting)):
            self.counts.telemetry_sent += len(waiting)
        else:
            self.counts.telemetry_dropped += len(waiting)

    def send_output(self, host: VirtualHost, now: float) -> None:
        """Send what the members of a host have printed."""
        publisher = self._publisher(host)
        while publisher is not None and host.printed:
            line = host.printed.popleft()
            wish = line.member.wish
            chunk = event_pb2.LogChunk(
                job_id=wish.job_id,
                allocation_id=wish.allocation_id,
                epoch=wish.epoch,
                rank=wish.rank,
                offset=line.offset,
                next_offset=line.offset + len(line.data),
                end=line.end,
            )
            if line.data:
                chunk.records.add(stream=job_pb2.LOG_STREAM_STDOUT, data=line.data).read_at.CopyFrom(stamp(now))
            subject = f"orq.node.{host.node_id}.log.{wish.job_id}"
            name = f"{wish.allocation_id}.{wish.rank}.{line.offset}-{'end' if line.end else 'on'}"
            publisher.publish_raw(message(subject, chunk.SerializeToString(), name), 1)
            self.counts.output_chunks += 1

    def _publisher(self, host: VirtualHost) -> Publisher | None:
        publisher = self._publishers.get(0 if self._login is not None else host.index)
        return None if publisher is None or publisher.ended.is_set() else publisher

    async def _stay_connected(self, link: HostLink) -> None:
        """Connect again whenever the connection ends: a grant lasts for ten minutes or so."""
        key = 0 if self._login is not None else link.host.index
        failures = 0
        while True:
            try:
                async with self._slots:
                    publisher = await self._connect(link.nats_servers, link.identity)
            except BrokerRefused:
                failures += 1
            else:
                failures = 0
                self.counts.broker_connects += 1
                self._publishers[key] = publisher
                await publisher.serve()
            ceiling = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** min(failures, 16))
            await asyncio.sleep(ceiling * self._dice.uniform(0.5, 1.0))

    async def _connect(self, servers: tuple[str, ...], identity: Identity) -> Publisher:
        publisher = Publisher()
        await publisher.connect(self._dice.choice(servers), identity, self._login)
        return publisher
