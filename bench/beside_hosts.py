"""The hosts of `bench.beside_prometheus`: the same samples as pages to scrape and as batches to publish."""

import asyncio
import itertools
import json
import random
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from control_plane.model.ids import NODE, new_id
from orquanta.v1 import event_pb2
from simulator.body import Body
from simulator.broker import message
from simulator.models import MODELS

GPUS_PER_HOST = 8
ROUNDS = 4
"""Seconds of telemetry that are made beforehand and sent in turns: values change, and making them costs no side."""

TICK_SECONDS = 0.05
BACKLOG = 4096
REQUEST_BYTES_MAX = 64 * 1024
_NAMES = ("uuid", "error")


@dataclass(frozen=True, slots=True)
class Series:
    """One sample: its name and labels as Prometheus writes them, and its value."""

    name: str
    labels: str
    value: float


def samples(batch: event_pb2.TelemetryBatch) -> Iterator[Series]:
    """Return every number of a batch, by name: each field of each GPU that is told, then those of the host."""
    for field in event_pb2.GpuSample.DESCRIPTOR.fields:
        if field.name in _NAMES:
            continue
        for place, gpu in enumerate(batch.gpus):
            if gpu.HasField(field.name):  # type: ignore[arg-type] # the names are the message's own
                labels = f'{{gpu="{place}",uuid="{gpu.uuid}"}}'
                yield Series(f"orquanta_gpu_{field.name}", labels, getattr(gpu, field.name))
    for field in event_pb2.HostSample.DESCRIPTOR.fields:
        yield Series(f"orquanta_host_{field.name}", "", getattr(batch.host, field.name))


def page(batch: event_pb2.TelemetryBatch) -> bytes:
    """Return the batch in Prometheus' text format."""
    lines = []
    for name, group in itertools.groupby(samples(batch), lambda one: one.name):
        lines.append(f"# TYPE {name} gauge\n")
        lines += [f"{one.name}{one.labels} {_text(one.value)}\n" for one in group]
    return "".join(lines).encode()


def _text(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)  # as many digits as DCGM's exporter prints


class Hosts:
    """So many hosts, with some rounds of telemetry each in both forms."""

    def __init__(self, count: int) -> None:
        dice, now = random.Random(1), time.time()
        self.count = count
        self.messages: list[list[bytes]] = [[] for _ in range(ROUNDS)]
        self.pages: list[list[bytes]] = [[] for _ in range(ROUNDS)]
        for number in range(count):
            node_id = new_id(NODE)
            body = Body(f"host-{number}", node_id, MODELS["H100"], GPUS_PER_HOST)
            for turn in range(ROUNDS):
                data = body.sample(now + turn, set(body.uuids), (), dice)
                self.messages[turn].append(message(f"orq.node.{node_id}.telemetry", data))
                text = page(event_pb2.TelemetryBatch.FromString(data))
                head = (
                    f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(text)}\r\n\r\n"
                )
                self.pages[turn].append(head.encode() + text)
        self.samples_per_host = sum(1 for _ in samples(event_pb2.TelemetryBatch.FromString(data)))
        self.batch_bytes = len(data)
        self.page_bytes = len(text)


class _Exporter(asyncio.Protocol):
    """One connection of Prometheus: answers `GET /<host>` with the host's page of this second."""

    def __init__(self, exporters: "Exporters") -> None:
        self._exporters = exporters
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            self._transport.write(self._exporters.answer(request))
        if len(self._received) > REQUEST_BYTES_MAX:
            self._transport.abort()


class Exporters:
    """All hosts as targets on one port, a path for each. An asynchronous context manager."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.served = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Exporter(self), "127.0.0.1", 0, backlog=BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def answer(self, request: bytes) -> bytes:
        """Return the answer to a request; a page is another one each second."""
        self.served += 1
        number = int(request.split(b" ", 2)[1][1:])
        return self._hosts.pages[int(time.monotonic()) % ROUNDS][number]

    def targets(self) -> str:
        """Return the file that names the targets to Prometheus."""
        return json.dumps(
            [
                {
                    "targets": [f"127.0.0.1:{self.port}"],
                    "labels": {"__metrics_path__": f"/{number}", "instance": f"host-{number}"},
                }
                for number in range(self._hosts.count)
            ]
        )


class Publisher:
    """All hosts on one connection to the broker: a batch of each, spread over every second."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.sent = 0

    async def run(self, port: int, context: ssl.SSLContext, password: str) -> None:
        """Send until cancelled. What is late by more than a second is given up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        await reader.readline()
        options = {"user": "control", "pass": password, "verbose": False, "name": "hosts"}
        writer.write(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        assert await reader.readline() == b"PONG\r\n"
        pongs = asyncio.create_task(_pong(reader, writer))
        try:
            count = self._hosts.count
            owed, before = 0.0, time.monotonic()
            while True:
                await asyncio.sleep(TICK_SECONDS)
                now = time.monotonic()
                owed, before = min(owed + (now - before) * count, count), now
                numbers = range(self.sent, self.sent + int(owed))
                owed -= len(numbers)
                self.sent += len(numbers)
                messages = self._hosts.messages
                writer.write(b"".join(messages[number // count % ROUNDS][number % count] for number in numbers))
                await writer.drain()
        finally:
            pongs.cancel()
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


async def _pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        if line.startswith(b"PING"):
            writer.write(b"PONG\r\n")
