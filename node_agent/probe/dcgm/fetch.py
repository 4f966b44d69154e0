"""One HTTP GET without a library: a status, then the body in pieces, never held as a whole."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

MAXIMUM_BODY_BYTES: Final = 8 * 1024 * 1024
_MAXIMUM_HEAD_BYTES: Final = 16 * 1024
_PIECE_BYTES: Final = 64 * 1024
_MAXIMUM_CHUNK_HEAD: Final = 256
_OK: Final = 200


class FetchFailed(Exception):
    """What came back is no page; the message says what did."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a page is."""

    url: str
    host: str
    port: int
    path: str
    tls: bool


def parse_url(url: str) -> Target:
    """Return the parts of an `http://host:port/path`; the path is `/metrics` if it is left out.

    Raises:
        ValueError: it is not such a URL; the message says what it must be.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError(f"{url!r} must have the form http://host:port/metrics.")
    path = (parts.path if parts.path not in ("", "/") else "/metrics") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(f"{url!r} must hold only printable ASCII characters and no spaces.")
    tls = parts.scheme == "https"
    return Target(url, parts.hostname, port or (443 if tls else 80), path, tls)


@asynccontextmanager
async def fetch(target: Target) -> AsyncIterator[AsyncIterator[bytes]]:
    """Get a page; yields its body in pieces of at most 64 KiB. The caller sets the deadline around all of it.

    Raises:
        FetchFailed: the answer is no 200, no HTTP, or has a body beyond 8 MiB.
        OSError: no connection.
    """
    reader, writer = await asyncio.open_connection(
        target.host, target.port, limit=_MAXIMUM_HEAD_BYTES, ssl=ssl.create_default_context() if target.tls else None
    )
    try:
        host = f"[{target.host}]" if ":" in target.host else target.host
        writer.write(
            f"GET {target.path} HTTP/1.1\r\nHost: {host}:{target.port}\r\nUser-Agent: orquanta-node\r\n"
            "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        headers = await _head(reader)
        yield _body(reader, headers)
    finally:
        writer.transport.abort()  # nothing more is wanted, and a peer that hangs must not hold the end up


async def _head(reader: asyncio.StreamReader) -> dict[str, str]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise FetchFailed("it does not speak HTTP") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():  # noqa: PLR2004 - version, status
        raise FetchFailed("it does not speak HTTP")
    if int(words[1]) != _OK:
        raise FetchFailed(f"it answers with HTTP status {words[1][:3]}")
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    if headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed(f"it sends an encoding that was not asked for: {headers['content-encoding'][:40]!r}")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _bounded(_chunks(reader))
    length = headers.get("content-length", "")
    if length and not (length.isascii() and length.isdigit() and len(length) <= 15):  # noqa: PLR2004 - digits
        raise FetchFailed("its Content-Length is no number")
    return _bounded(_plain(reader, int(length) if length else None))


async def _bounded(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    total = 0
    async for piece in pieces:
        total += len(piece)
        if total > MAXIMUM_BODY_BYTES:
            raise FetchFailed(f"its page is larger than {MAXIMUM_BODY_BYTES // 1024**2} MiB")
        yield piece


async def _plain(reader: asyncio.StreamReader, length: int | None) -> AsyncIterator[bytes]:
    left = length
    while left is None or left > 0:
        piece = await reader.read(_PIECE_BYTES if left is None else min(_PIECE_BYTES, left))
        if not piece:
            if left:
                raise FetchFailed("its page was cut off")
            return
        if left is not None:
            left -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            line = await reader.readuntil(b"\r\n")
            size = int(line[:_MAXIMUM_CHUNK_HEAD].split(b";")[0], 16)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise FetchFailed("its page was cut off") from error
        if not 0 <= size <= MAXIMUM_BODY_BYTES:
            raise FetchFailed(f"its page is larger than {MAXIMUM_BODY_BYTES // 1024**2} MiB")
        if size == 0:
            return
        async for piece in _plain(reader, size):
            yield piece
        with suppress(asyncio.IncompleteReadError):  # the next size is missing then, and says so
            await reader.readexactly(2)
