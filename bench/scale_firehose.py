"""Telemetry of thousands of hosts over NATS, made beforehand: the same bytes as hosts send."""

import asyncio
import base64
import json
import random
import ssl
import time

from control_plane.model.ids import NODE, new_id
from orquanta.gameday.fleet import Fleet
from simulator.body import Body
from simulator.broker import message
from simulator.models import MODELS

TICK_SECONDS = 0.05


class Firehose:
    """Telemetry of hosts that are nothing but that: the same bytes again and again, made beforehand."""

    def __init__(self, fleet: Fleet, hosts: int, nats_port: int) -> None:
        self._fleet = fleet
        self._nats_port = nats_port
        self.hosts = hosts
        self.per_second = 0.0
        self.sent = 0
        dice = random.Random(1)
        now = time.time()
        self._messages = []
        for number in range(hosts):
            node_id = new_id(NODE)
            body = Body(f"hose-{number}", node_id, MODELS["H100"], 8)
            self._messages.append(message(f"orq.node.{node_id}.telemetry", body.sample(now, set(body.uuids), (), dice)))
        self.batch_bytes = sum(map(len, self._messages)) / hosts

    async def run(self) -> None:
        """Send `per_second` batches a second until cancelled."""
        identity = self._fleet.state / "identity"
        context = ssl.create_default_context(cafile=str(self._fleet.ca_file))
        context.check_hostname = False
        context.load_cert_chain(identity / "control-plane.crt", identity / "control-plane.key")
        reader, writer = await asyncio.open_connection("127.0.0.1", self._nats_port, ssl=context)
        password = base64.b64decode((identity / "nats-control.key").read_text()).hex()
        await reader.readline()
        options = {"user": "control", "pass": password, "verbose": False, "name": "firehose"}
        writer.write(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        assert await reader.readline() == b"PONG\r\n"
        pongs = asyncio.create_task(_pong(reader, writer))
        try:
            owed, before = 0.0, time.monotonic()
            while True:
                await asyncio.sleep(TICK_SECONDS)
                now = time.monotonic()
                owed, before = min(owed + (now - before) * self.per_second, self.per_second), now
                count = int(owed)
                owed -= count
                first = self.sent % self.hosts
                chosen = (self._messages + self._messages)[first : first + count] if count else []
                self.sent += len(chosen)
                writer.write(b"".join(chosen))
                await writer.drain()
        finally:
            pongs.cancel()
            writer.close()


async def _pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        if line.startswith(b"PING"):
            writer.write(b"PONG\r\n")
