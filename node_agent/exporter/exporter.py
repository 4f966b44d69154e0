"""Serves the page over HTTP/1.1: GET and HEAD of `/metrics`, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from node_agent.exporter.page import render
from node_agent.exporter.state import ExporterState
from node_agent.exporter.text import CONTENT_TYPE

log = structlog.get_logger()

MAXIMUM_CONNECTIONS: Final = 16
"""Beyond these, a connection is closed at once."""
_MAXIMUM_HEAD_BYTES: Final = 8 * 1024
_TIMEOUT_SECONDS: Final = 10.0
"""For a whole request and its answer; each connection carries one."""
_PAGE_AGE_SECONDS: Final = 0.5
"""How long a page is served again, so that a flood of requests costs no processor time but that of sending it."""
_RETRY_SECONDS: Final = 30.0
_HIGHEST_PORT: Final = 65_535
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Error"}


def parse_address(value: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:9445`, `[::1]:9445` or `:9445`, which is all addresses.

    Raises:
        ValueError: it is not of this form.
    """
    host, separator, port = value.rpartition(":")
    if not separator or not (port.isascii() and port.isdigit()) or int(port) > _HIGHEST_PORT:
        raise ValueError(f"{value!r} must be HOST:PORT, such as 127.0.0.1:9445.")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host or any(character.isspace() for character in host):
        raise ValueError(f"{value!r} must be HOST:PORT, with an IPv6 address in brackets: [::1]:9445.")
    return host, int(port)


class Exporter:
    """The endpoint. It has no authentication, as Prometheus exporters do: bind it to an address you trust."""

    def __init__(
        self,
        address: str,
        collect: Callable[[], ExporterState],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take `HOST:PORT`; port 0 takes a free one. `collect` is called in the event loop, once for each page.

        Raises:
            ValueError: the address is none.
        """
        self._host, self._port = parse_address(address)
        self._collect = collect
        self._sleep = sleep
        self._connections = 0
        self._page: tuple[float, bytes] | None = None
        self._listening: asyncio.Event = asyncio.Event()
        self._bound: tuple[str, int] = ("", 0)

    async def listening(self) -> tuple[str, int]:
        """Wait until it can be asked, and return its host and port."""
        await self._listening.wait()
        return self._bound

    async def run(self) -> None:
        """Serve until cancelled. An address that is taken is tried again: the daemon must not end for its metrics."""
        while True:
            try:
                server = await asyncio.start_server(
                    self._serve, self._host or None, self._port, limit=_MAXIMUM_HEAD_BYTES
                )
            except OSError as error:
                address = f"{self._host}:{self._port}"
                log.error("metrics.cannot_listen", address=address, error=error.strerror, retry_seconds=_RETRY_SECONDS)  # noqa: TRY400 - the reason is in the error
                await self._sleep(_RETRY_SECONDS)
                continue
            async with server:
                name = server.sockets[0].getsockname()
                self._bound = (str(name[0]), int(name[1]))
                self._listening.set()
                log.info("metrics.listening", host=self._bound[0], port=self._bound[1])
                await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MAXIMUM_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                writer.write(await self._heard(reader))
                await writer.drain()
                writer.write_eof()
                while await reader.read(
                    _MAXIMUM_HEAD_BYTES
                ):  # until the client closes, or it might lose the page's end
                    pass
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            pass  # the client went, or dawdled
        finally:
            self._connections -= 1
            writer.close()

    async def _heard(self, reader: asyncio.StreamReader) -> bytes:
        """Read the head of a request and return its answer."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(400, b"The request is too long.\n")
        return self._answer(head)

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split()
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):  # noqa: PLR2004 - method, path, version
            return _response(400, b"This is an HTTP/1.1 server.\n")
        method, path = words[0], words[1].split(b"?", 1)[0]
        if method not in (b"GET", b"HEAD"):
            return _response(405, b"Only GET and HEAD are answered.\n")
        if path != b"/metrics":
            return _response(404, b"The metrics are at /metrics.\n")
        try:
            page = self._fresh_page()
        except Exception as error:  # noqa: BLE001 - the client is told, and the daemon goes on
            log.error("metrics.failed", error=repr(error))  # noqa: TRY400 - a trace for each scrape helps nobody
            return _response(500, b"The metrics cannot be put together; see the daemon's log.\n")
        return _response(200, page, content_type=CONTENT_TYPE, head_only=method == b"HEAD")

    def _fresh_page(self) -> bytes:
        now = asyncio.get_running_loop().time()
        if self._page is None or now - self._page[0] > _PAGE_AGE_SECONDS:
            self._page = (now, render(self._collect()))
        return self._page[1]


def _response(
    status: int, body: bytes, *, content_type: str = "text/plain; charset=utf-8", head_only: bool = False
) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)
