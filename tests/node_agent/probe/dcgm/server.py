"""A real HTTP server on a free port, which serves what a test tells it, or misbehaves as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class PageServer:
    """Serves `page` as Go's HTTP server does: by length, or in chunks if it is large."""

    def __init__(self) -> None:
        self.page = ""
        self.status = "200 OK"
        self.chunk_bytes: int | None = None
        self.behaviour: Behaviour | None = None
        self.requests: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.behaviour:
                await self.behaviour(reader, writer)
            else:
                await self._answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        body = self.page.encode()
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        if self.chunk_bytes is None:
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        else:
            writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            for start in range(0, len(body), self.chunk_bytes):
                piece = body[start : start + self.chunk_bytes]
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            writer.write(b"0\r\n\r\n")
        await writer.drain()


@asynccontextmanager
async def page_server() -> AsyncIterator[PageServer]:
    server = PageServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/metrics"
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()
