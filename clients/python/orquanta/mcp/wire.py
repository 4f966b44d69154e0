"""Standard input and output as the streams of an MCP server: bounded, and cancelled at once by Ctrl-C.

The library's own reader waits for its next line in a thread that nothing can interrupt.
"""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from mcp.server.stdio import stdio_server

LINE_BYTES_MAX: Final = 1024 * 1024
"""One message; the arguments of a tool are at most 64 KiB. A longer one ends the connection."""


class _Lines:
    """Lines of a pipe."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> "_Lines":
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._reader.readline()
        except ValueError:  # longer than the bound
            sys.stderr.write(f"orquanta mcp: a message is longer than {LINE_BYTES_MAX} bytes; the connection ends\n")
            raise StopAsyncIteration from None
        if not line:
            raise StopAsyncIteration
        return line.decode("utf-8", "replace")


class _Writer:
    """A pipe to write to; a reader that is slow slows the writing down, not the memory up."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def write(self, text: str) -> None:
        self._writer.write(text.encode())

    async def flush(self) -> None:
        await self._writer.drain()


def _is_pipe(descriptor: int) -> bool:
    """Tell whether an event loop can wait for it, as it cannot for files and /dev/null."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


@asynccontextmanager
async def standard_streams() -> AsyncIterator[Any]:  # Any: the pair of streams that the library makes
    """Give the two streams that a server runs on. Standard output is the wire: whatever else prints, goes to stderr.

    Raises ValueError or OSError when standard input or output is no pipe.
    """
    if not _is_pipe(0) or not _is_pipe(1):
        raise ValueError("standard input and output must be pipes, sockets or a terminal")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    wire = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    incoming, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", 0, closefd=False)
    )
    outgoing, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, wire)
    writer = asyncio.StreamWriter(outgoing, protocol, None, loop)
    lines: Any = _Lines(reader)  # Any: the library asks for a file of its own, and uses this much of it
    out: Any = _Writer(writer)
    try:
        async with stdio_server(lines, out) as streams:
            yield streams
    finally:
        incoming.close()
        outgoing.close()
