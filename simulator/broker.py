"""A connection to NATS that only publishes: what a host sends of telemetry and output, and nothing else.

Written by hand because a fleet of them has to be light: a client library keeps a hundred times as much for each.
"""

import asyncio
import contextlib
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from simulator.identity import Identity

_CONNECT_SECONDS: Final = 20.0
_PENDING_BYTES_MAX: Final = 1 << 20
"""Bytes that wait for a slow broker; what is published beyond is dropped and counted, as a daemon does."""

_SHARED_PENDING_BYTES_MAX: Final = 64 << 20


class BrokerRefused(Exception):
    """The broker cannot be reached, or does not want this connection."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the broker that may publish for every host: for benchmarks alone, see docs/simulator.md."""

    user: str
    password: str


class Publisher:
    """One connection. `ended` is set when it is over; `dropped` counts what was published in vain."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.dropped = 0
        self._writer: asyncio.StreamWriter | None = None
        self._most = _PENDING_BYTES_MAX

    async def connect(self, url: str, identity: Identity, login: Login | None = None) -> None:
        """Connect with a host's certificate, and be let in as this host, or as the user of `login`.

        Raises BrokerRefused.
        """
        address = urlsplit(url)
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "1", "name": identity.node_id}
        if login is not None:
            options |= {"user": login.user, "pass": login.password}
            self._most = _SHARED_PENDING_BYTES_MAX
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    address.hostname, address.port or 4222, ssl=_context(identity), limit=16 * 1024
                )
                self._writer = writer
                await reader.readline()  # INFO
                writer.write(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
                answer = await reader.readline()
        except (OSError, TimeoutError, ValueError) as error:
            await self.close()
            raise BrokerRefused(f"{url}: {error or type(error).__name__}") from None
        if answer != b"PONG\r\n":
            await self.close()
            raise BrokerRefused(f"{url}: {answer.decode(errors='replace').strip() or 'the connection was closed'}")
        self._reader = reader

    async def serve(self) -> None:
        """Answer the broker's pings until the connection ends."""
        writer = self._writer
        try:
            while writer is not None and (line := await self._reader.readline()):
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
        except (OSError, ValueError):
            pass
        finally:
            self.ended.set()
            await self.close()

    def publish(self, subject: str, data: bytes) -> bool:
        """Send a message if there is room; return whether it is on its way."""
        return self.publish_raw(message(subject, data), 1)

    def publish_raw(self, data: bytes, count: int) -> bool:
        """Send so many messages that were made with `message`, in one write."""
        writer = self._writer
        if writer is None or writer.is_closing() or writer.transport.get_write_buffer_size() > self._most:
            self.dropped += count
            return False
        writer.write(data)
        return True

    async def close(self) -> None:
        """Close the connection."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()


def message(subject: str, data: bytes, message_id: str = "") -> bytes:
    """Return a message as it goes over the wire; one with an id is stored once, however often it is sent."""
    if not message_id:
        return b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(data), data)
    head = b"NATS/1.0\r\nNats-Msg-Id: %s\r\n\r\n" % message_id.encode()
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (subject.encode(), len(head), len(head) + len(data), head, data)


def _context(identity: Identity) -> ssl.SSLContext:
    """Return a TLS context of this host. Python reads certificates from files only."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=identity.ca)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        Path(file.name).chmod(0o600)
        file.write(identity.key + identity.certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context
